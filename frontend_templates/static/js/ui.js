// What every page shares: menus that close, dialogs that open, secrets that copy, forms that do not send twice, toasts.

import { request } from "./http.js";

const GLYPHS = { good: "✓", bad: "✕", warn: "!", info: "i" };

/** Shows a short message for six seconds; errors stay until they are clicked. */
export function toast(message, kind = "info") {
  const box = document.createElement("div");
  box.className = `toast toast-${kind}`;
  const glyph = document.createElement("span");
  glyph.textContent = GLYPHS[kind] ?? "i";
  glyph.ariaHidden = "true";
  const words = document.createElement("span");
  words.textContent = message;
  box.append(glyph, words);
  box.addEventListener("click", () => box.remove());
  document.getElementById("toasts")?.append(box);
  if (kind !== "bad") setTimeout(() => box.remove(), 6000);
}

function closeMenus(except = null) {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== except) menu.open = false;
}

document.addEventListener("click", (event) => {
  closeMenus(event.target.closest("details.menu"));
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens)?.showModal();
  if (event.target.closest("[data-closes]")) event.target.closest("dialog")?.close();
  const copier = event.target.closest("[data-copies]");
  if (copier) copy(document.getElementById(copier.dataset.copies));
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = document.querySelector("details.menu[open]");
  closeMenus();
  open?.querySelector("summary")?.focus();
});

async function copy(field) {
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    toast("Copied.", "good");
  } catch {
    toast("It is selected: copy it with Ctrl+C or ⌘C.");
  }
}

// A second click on a slow form must not send it twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.dataset.again !== undefined) return;
  if (form.dataset.sent) event.preventDefault();
  else setTimeout(() => { if (!event.defaultPrevented) form.dataset.sent = "yes"; });
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Selects that act at once (filters) carry data-submits.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});

// The project switcher fills itself when it is first opened; without scripts its link leads home.
for (const menu of document.querySelectorAll("[data-projects]")) {
  menu.addEventListener("toggle", () => fillProjects(menu), { once: true });
}

async function fillProjects(menu) {
  try {
    const { items } = await request("GET", "/api/v1/projects?limit=50");
    const first = menu.querySelector(".menu-list").firstElementChild;
    for (const project of items) {
      const line = document.createElement("li");
      const link = document.createElement("a");
      link.href = `/projects/${encodeURIComponent(project.slug)}`;
      link.textContent = project.name;
      if (project.slug === menu.dataset.projects) link.ariaCurrent = "true";
      line.append(link);
      first.before(line);
    }
  } catch {
    // The link to all projects below still works.
  }
}

// On a phone the sections scroll sideways: bring the current one into view.
const here = document.querySelector(".sections [aria-current]");
if (here) here.closest(".sections").scrollLeft = here.offsetLeft - (here.closest(".sections").clientWidth - here.offsetWidth) / 2;

for (const summary of document.querySelectorAll(".error-summary")) summary.focus();
for (const dialog of document.querySelectorAll("dialog[data-open]")) dialog.showModal();
