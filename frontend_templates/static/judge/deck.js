// The bars above and below the images, and the words shown where there is nothing to judge.

import { CRITERIA, RESTS, savedWords } from "./words.js";

const byId = (id) => document.getElementById(id);
const page = document.body.dataset;
const TOAST_MS = 6000;
const LAST = {
  tie: "= tie",
  both_bad: "✗ both bad",
  skip: "skipped",
  marks: "marks sent",
};

export class Deck {
  constructor(judge) {
    this.judge = judge;
    this.lastWords = "";
    const click = (id, act) => byId(id).addEventListener("click", act);
    click("undo", () => judge.undo());
    click("tie", () => judge.settle("tie"));
    click("both-bad", () => judge.settle("both_bad"));
    click("skip", () => this.open("skip"));
    click("send", () => judge.send());
    click("pause", () => judge.pause());
    click("open-keys", () => this.dialog("keys"));
    click("open-guide", () => this.dialog("guide"));
    for (const button of document.querySelectorAll("[data-reason]")) {
      button.addEventListener("click", () => this.reason(button.dataset.reason));
    }
    for (const button of document.querySelectorAll("[data-skip]")) {
      button.addEventListener("click", () => this.skip(button.dataset.skip));
    }
    document.querySelector("[data-close-skip]").addEventListener("click", () => this.close());
    document.querySelector("[data-close-other]").addEventListener("click", () => this.close());
    byId("row-other").addEventListener("submit", (event) => {
      event.preventDefault();
      const words = byId("other-text").value.trim();
      this.close();
      if (words) judge.reason("other", words);
    });
  }

  // --- rows --------------------------------------------------------------------------------------------------------

  /** Which row is open: "answer", "skip" or "other". */
  get row() {
    return ["skip", "other"].find((name) => !byId(`row-${name}`).hidden) ?? "answer";
  }

  open(name) {
    if (!this.judge.ready && name !== "answer") return;
    for (const each of ["answer", "skip", "other"]) byId(`row-${each}`).hidden = each !== name;
    if (name === "other") {
      byId("other-text").value = this.judge.draft.state.comment;
      byId("other-text").focus();
    }
  }

  close() {
    this.open("answer");
    byId("screen").focus({ preventScroll: true });
  }

  reason(name) {
    if (name !== "other") this.judge.reason(name);
    else if (this.judge.draft?.givenReasons.includes("other")) this.judge.reason("other");
    else this.open("other");
  }

  skip(reason) {
    this.close();
    this.judge.skip(reason);
  }

  dialog(id) {
    const dialog = byId(id);
    if (dialog.open) {
      dialog.close();
      return;
    }
    for (const other of document.querySelectorAll("dialog[open]")) other.close();
    dialog.showModal();
  }

  // --- what they say -----------------------------------------------------------------------------------------------

  context(item, { subject }, question) {
    byId("prompt").textContent = `“${item.prompt}”`;
    byId("question").textContent = question;
    byId("subject").replaceChildren(subject);
    document.body.dataset.kind = item.isPair ? "pair" : "many";
  }

  refresh(draft, { editing, hint }) {
    const missing = draft.missing();
    byId("send").classList.toggle("armed", missing === null);
    byId("send-word").textContent = editing ? (draft.changed ? "change" : "keep") : "send";
    document.body.toggleAttribute("data-editing", editing);
    for (const button of document.querySelectorAll("[data-reason]")) {
      button.setAttribute("aria-pressed", String(draft.givenReasons.includes(button.dataset.reason)));
    }
    for (const [id, outcome] of [["tie", "tie"], ["both-bad", "both_bad"]]) {
      byId(id).hidden = !draft.isPair;
      byId(id).setAttribute("aria-pressed", String(draft.state.outcome === outcome));
    }
    byId("reasons").hidden = draft.policy === "off";
    this.open("answer");
    byId("hint").textContent = hint || this.lastWords;
  }

  last(answer) {
    const words = answer.outcome === "choice" ? (answer.choice === "left" ? "✓ 1" : "✓ 2") : LAST[answer.outcome];
    this.lastWords = `last: ${words}`;
  }

  saved(outbox, isOffline = false) {
    const state = outbox.state === "ok" && isOffline ? "offline" : outbox.state;
    const [glyph, words] = savedWords({ waiting: outbox.waiting, state });
    byId("saved").dataset.state = state === "ok" ? (outbox.waiting ? "sending" : "saved") : state;
    byId("saved").textContent = `${glyph} ${words}`;
  }

  pace(words, done, total) {
    byId("pace").textContent = words;
    byId("line").max = Math.max(1, total);
    byId("line").value = done;
  }

  say(words) {
    byId("says").textContent = words;
  }

  toast(words) {
    const toast = byId("toast");
    toast.textContent = words;
    toast.hidden = false;
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => { toast.hidden = true; }, TOAST_MS);
  }

  // --- resting -----------------------------------------------------------------------------------------------------

  /** Shows the words of a state instead of the images. */
  rest(state, problem = null) {
    const { title, text, button, link, glyph } = RESTS[state] ?? RESTS.loading;
    if (this.judge.resting === state && state !== "refused") return;
    this.judge.resting = state;
    const rest = byId("rest");
    const heading = document.createElement("h2");
    heading.textContent = title;
    const words = document.createElement("p");
    words.textContent = problem && state === "refused" ? problem.message : text;
    rest.replaceChildren(heading, words);
    if (glyph) {
      const sign = document.createElement("p");
      sign.className = "sign";
      sign.setAttribute("aria-hidden", "true");
      sign.textContent = glyph;
      rest.prepend(sign);
    }
    if (button) rest.append(this.#action("button", button));
    if (link === "login") rest.append(this.#action("a", "Log in again", `/login?next=${encodeURIComponent(location.pathname)}`));
    if (link === "project") rest.append(this.#action("a", "Back to the project", `/projects/${page.project}`));
    this.#hide(true);
    rest.querySelector(".go")?.focus({ preventScroll: true });
  }

  #action(tag, label, href = null) {
    const made = document.createElement(tag);
    made.className = "go";
    made.textContent = label;
    if (href) made.href = href;
    else {
      made.type = "button";
      made.addEventListener("click", () => this.judge.goOn());
    }
    return made;
  }

  wake() {
    if (this.judge.resting === null) return;
    this.judge.resting = null;
    this.#hide(false);
  }

  #hide(isResting) {
    const hasItem = Boolean(this.judge.current);
    byId("rest").hidden = !isResting;
    byId("stage").hidden = isResting || !hasItem;
    byId("context").hidden = isResting || !hasItem;
    byId("deck").hidden = isResting || !hasItem;
    byId("criterion").textContent = hasItem ? CRITERIA[this.judge.current.criterion] : "";
  }
}
