// The bars above and below the images, and what the page says.

import { say } from "./words.js";

const byId = (id) => document.getElementById(id);
const page = document.body.dataset;
const TOAST_MS = 6000;
const ROWS = ["answer", "skip", "other"];
const SETTLED = { tie: "tie", "both-good": "both_good", "both-bad": "both_bad" };

export class Deck {
  constructor(judge) {
    this.judge = judge;
    this.lastWords = "";
    const click = (id, act) => byId(id).addEventListener("click", act);
    click("undo", () => judge.undo());
    for (const [id, outcome] of Object.entries(SETTLED)) click(id, () => judge.settle(outcome));
    click("skip", () => this.open("skip"));
    click("send", () => judge.send());
    click("pause", () => judge.pause());
    click("place", () => judge.mark());
    click("open-keys", () => this.dialog("keys"));
    click("open-guide", () => this.dialog("guide"));
    for (const button of document.querySelectorAll("[data-reason]")) {
      button.addEventListener("click", () => this.reason(button.dataset.reason));
    }
    for (const button of document.querySelectorAll("[data-skip]")) {
      button.addEventListener("click", () => this.skip(button.dataset.skip));
    }
    for (const button of document.querySelectorAll("[data-back]")) button.addEventListener("click", () => this.close());
    byId("row-other").addEventListener("submit", (event) => {
      event.preventDefault();
      const words = byId("other-text").value.trim();
      this.close();
      if (words) judge.reason("other", words);
    });
  }

  // --- rows

  /** Which row is open: "answer", "skip" or "other". */
  get row() {
    return ROWS.find((name) => name !== "answer" && !byId(`row-${name}`).hidden) ?? "answer";
  }

  open(name) {
    if (!this.judge.ready && name !== "answer") return;
    for (const each of ROWS) byId(`row-${each}`).hidden = each !== name;
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
    this.dress("panels");
    dialog.showModal();
  }

  /** Loads a style sheet that the first view does without. */
  dress(name) {
    byId(`sheet-${name}`).disabled = false;
  }

  // --- what they say

  context(item, { subject }) {
    byId("prompt").textContent = `“${item.prompt}”`;
    const form = item.isPair ? "pair" : this.judge.rules.best_worst ? "bestWorst" : "many";
    byId("question").textContent = say(`questions.${form}.${item.criterion}`);
    byId("subject").replaceChildren(subject);
    page.kind = item.isPair ? "pair" : "many";
  }

  refresh(draft, { editing, hint }) {
    byId("send").classList.toggle("armed", draft.missing() === null);
    byId("send-word").textContent = say(editing ? (draft.changed ? "send.change" : "send.keep") : "send.send");
    document.body.toggleAttribute("data-editing", editing);
    const press = (button, isOn) => button.setAttribute("aria-pressed", String(isOn));
    for (const button of document.querySelectorAll("[data-reason]")) press(button, draft.givenReasons.includes(button.dataset.reason));
    for (const [id, outcome] of Object.entries(SETTLED)) {
      byId(id).hidden = !draft.isPair;
      press(byId(id), draft.state.outcome === outcome);
    }
    byId("reasons").hidden = draft.policy === "off";
    byId("place").hidden = !this.judge.rules.mark_regions || draft.policy === "off";
    press(byId("place"), Boolean(this.judge.regions?.active));
    this.open("answer");
    byId("hint").textContent = hint || this.lastWords;
  }

  last(answer, id) {
    const words = answer.outcome === "choice" ? `✓ ${answer.choice === "left" ? 1 : 2}` : say(`outcomes.${answer.outcome}`);
    this.lastId = id;
    this.lastWords = this.lastAnswer = say("last", { words });
  }

  saved(outbox, isOffline = false) {
    const { waiting } = outbox;
    const state = outbox.state === "ok" && isOffline ? "offline" : outbox.state;
    const form = state === "ok" ? (waiting ? "sending" : "saved") : state;
    const glyph = { saved: "✓", loggedOut: "!" }[form] ?? "◌";
    const many = form === "sending" ? waiting > 1 : waiting > 0;
    byId("saved").dataset.state = form;
    byId("saved").textContent = `${glyph} ${say(`saved.${form}${many ? "Many" : ""}`, { count: waiting })}`;
  }

  pace({ seconds_each: seconds, left_is_bound: more }, done, total) {
    const words = `${done} / ${total}${more ? "+" : ""}`;
    byId("pace").textContent = seconds ? `${words} · ${say("pace", { seconds: seconds.toFixed(1) })}` : words;
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

  // --- resting

  /** Shows the words of a state instead of the images; `reason` is why the service says so. */
  async rest(state, reason = null) {
    if (this.judge.resting === state && state !== "refused") return;
    this.judge.resting = state;
    this.#hide(true);
    if (state === "loading") return;
    const { fillRest } = await import("./rest.js");
    if (this.judge.resting !== state) return;
    fillRest(byId("rest"), state, { project: page.project, reason, goOn: () => this.judge.goOn() });
  }

  wake() {
    if (this.judge.resting === null) return;
    this.judge.resting = null;
    this.#hide(false);
  }

  #hide(isResting) {
    const { current } = this.judge;
    byId("rest").hidden = !isResting;
    for (const id of ["stage", "context", "deck"]) byId(id).hidden = isResting || !current;
    byId("criterion").textContent = current ? say(`criteria.${current.criterion}`) : "";
  }
}
