// The import with scripts: a zip, a folder or a drop; the answer of the REST API is shown without leaving the page.

import { request } from "../js/http.js";

const form = document.getElementById("import-form");
const report = document.getElementById("report");
const state = document.getElementById("import-state");
const archive = document.getElementById("archive");
const folder = document.getElementById("folder");
let dropped = null;

document.getElementById("folder-field").hidden = !("webkitdirectory" in folder);
folder.addEventListener("change", () => { archive.value = ""; dropped = null; });
archive.addEventListener("change", () => { folder.value = ""; dropped = null; });

function chosen() {
  const body = new FormData();
  if (folder.files.length) {
    for (const file of folder.files) body.append("files", file, file.webkitRelativePath || file.name);
  } else {
    const file = dropped ?? archive.files[0];
    if (!file) return null;
    body.append("file", file, file.name);
  }
  return body;
}

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

function message(kind, glyph, text, title) {
  const box = element("div", undefined, { className: `alert alert-${kind}` });
  const words = element("div");
  if (title) words.append(element("p", title, { className: "strong" }));
  words.append(element("p", text));
  box.append(element("span", glyph, { className: "glyph", ariaHidden: "true" }), words);
  return box;
}

function rows(title, items) {
  const section = element("section", undefined, { className: "stack-s" });
  const wrap = element("div", undefined, { className: "table-wrap rows", tabIndex: 0 });
  const table = element("table", undefined, { className: "table table-plain" });
  const head = table.createTHead().insertRow();
  for (const words of ["Row", "What to do"]) head.append(element("th", words, { scope: "col" }));
  const body = table.createTBody();
  for (const item of items) {
    const line = body.insertRow();
    line.append(element("th", item.row || "all", { scope: "row" }), element("td", item.message, { className: "break" }));
  }
  wrap.append(table);
  section.append(element("h3", title), wrap);
  return section;
}

function show(result, { refused = null } = {}) {
  const problems = result.problems ?? [];
  const bad = refused !== null || problems.length > 0;
  report.replaceChildren(message(bad ? "bad" : "good", bad ? "✕" : "✓", refused ?? result.summary));
  if (problems.length) report.append(rows("Rows to correct", problems));
  if (result.warnings?.length) report.append(rows("Worth a look", result.warnings));
  if (!bad) report.append(nextSteps(result));
  report.focus();
}

function nextSteps(result) {
  const line = element("p", undefined, { className: "row" });
  const base = location.pathname.replace(/\/import$/, "");
  const isReady = !result.written && Object.values(result.counts).some((count) => count.new);
  if (isReady) {
    const go = element("button", `Import ${result.rows} rows`, { type: "button", className: "button button-primary" });
    go.addEventListener("click", () => send(false));
    line.append(go);
  } else {
    line.append(element("a", "See the conditions", { className: "button", href: `${base}/conditions` }));
    line.append(element("a", "Put candidates to judgment", { className: "button", href: `${base}/generators` }));
  }
  return line;
}

async function send(dryRun) {
  const body = chosen();
  if (!body) {
    report.replaceChildren(message("bad", "✕", "Choose a zip or a folder first."));
    return;
  }
  state.textContent = dryRun ? "Checking every row…" : "Importing…";
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  try {
    show(await request("POST", `${form.dataset.api}?dry_run=${dryRun}`, body));
  } catch (problem) {
    show(problem.document ?? {}, { refused: problem.message });
  } finally {
    state.textContent = "";
    for (const button of form.querySelectorAll("button")) button.disabled = false;
    delete form.dataset.sent;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(event.submitter?.value === "check");
});

form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("is-over");
});
form.addEventListener("dragleave", () => form.classList.remove("is-over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("is-over");
  const file = event.dataTransfer.files[0];
  if (!file) return;
  [dropped, archive.value, folder.value] = [file, "", ""];
  state.textContent = `${file.name} is ready.`;
});
