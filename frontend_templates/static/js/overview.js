// Keeps the loop's stations current while the page is looked at; a failed refresh is tried again, never shown.
const loop = document.getElementById("loop");
const EVERY_MS = 2000;

async function refresh() {
  if (document.visibilityState === "visible" && !loop.contains(document.activeElement)) {
    try {
      const response = await fetch(loop.dataset.refresh, { headers: { "X-Fragment": "loop", Accept: "text/html" } });
      if (response.ok && !response.redirected) loop.innerHTML = await response.text();
    } catch {
      // Offline or restarting: the next round asks again.
    }
  }
  setTimeout(refresh, EVERY_MS);
}

setTimeout(refresh, EVERY_MS);
