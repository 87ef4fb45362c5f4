// Keeps a list of jobs, or one job, as it is on the server while something on it is still under way.

const EVERY_MS = 2000;

async function refresh() {
  const present = document.getElementById("jobs-live");
  if (!present?.dataset.refreshes) return;
  // Somebody who is about to press a button in it must not have it change under the finger.
  if (!document.hidden && !present.contains(document.activeElement)) {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok && !answer.redirected) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const next = page.getElementById("jobs-live");
        if (next && next.innerHTML !== present.innerHTML) present.replaceWith(next);
      }
    } catch {
      // The network is away: what is shown stays, and the next round asks again.
    }
  }
  setTimeout(refresh, EVERY_MS);
}

setTimeout(refresh, EVERY_MS);
