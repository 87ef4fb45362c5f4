// The grid of conditions goes on as one scrolls: the link to the next page is followed before it is reached.

const grid = document.getElementById("grid");

function watch(link) {
  const observer = new IntersectionObserver(
    ([entry]) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      append(link);
    },
    { rootMargin: "1200px" },
  );
  observer.observe(link);
}

async function append(link) {
  link.textContent = "Loading…";
  try {
    const response = await fetch(link.href, { credentials: "same-origin", headers: { accept: "text/html" } });
    if (!response.ok) throw new Error(`${response.status}`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    grid.append(...page.querySelectorAll("#grid > li"));
    const next = page.getElementById("more");
    if (next) {
      link.replaceWith(next);
      watch(next);
    } else {
      link.remove();
    }
  } catch {
    // The link still works by hand.
    link.textContent = "Show more";
  }
}

const first = document.getElementById("more");
if (grid && first) watch(first);
