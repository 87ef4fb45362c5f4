// Progress of jobs, looked at every two seconds while the page is visible; when they have ended the page is loaded anew.

const panel = document.getElementById("at-work");

async function look() {
  if (!document.hidden) {
    try {
      const response = await fetch(panel.dataset.refresh, { credentials: "same-origin", headers: { accept: "text/html" } });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("at-work");
      if (!fresh) {
        location.reload();
        return;
      }
      panel.replaceChildren(...fresh.childNodes);
    } catch {
      // The next look may reach the server again.
    }
  }
  setTimeout(look, 2000);
}

if (panel) setTimeout(look, 2000);
