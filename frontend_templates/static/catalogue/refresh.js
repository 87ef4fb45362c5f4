// Progress of jobs, looked at every two seconds while the page is visible; when they have ended the page is loaded anew.

const panel = document.getElementById("at-work");

function isChanged(field) {
  if (field instanceof HTMLSelectElement) {
    const first = [...field.options].findIndex((option) => option.defaultSelected);
    return field.selectedIndex !== Math.max(0, first);
  }
  return field.value !== field.defaultValue || field.checked !== field.defaultChecked;
}

/** Whether a form is being filled in, which loading the page anew would empty. */
function isTyping() {
  const fields = [...document.querySelectorAll("form :is(input, select, textarea)")];
  return Boolean(document.activeElement?.closest("form")) || fields.some(isChanged);
}

async function look() {
  if (!document.hidden) {
    try {
      const response = await fetch(panel.dataset.refresh, { credentials: "same-origin", headers: { accept: "text/html" } });
      if (response.ok && !response.redirected) {
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const fresh = page.getElementById("at-work");
        if (fresh) {
          panel.replaceChildren(...fresh.childNodes);
        } else if (!isTyping()) {
          location.reload();
          return;
        }
      }
    } catch {
      // The next look may reach the server again.
    }
  }
  setTimeout(look, 2000);
}

if (panel) setTimeout(look, 2000);
