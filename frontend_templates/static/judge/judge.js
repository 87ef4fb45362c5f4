// The judge screen: what is shown, what an answer does, and where the page rests when there is nothing to show.

import { request } from "../js/http.js";
import { Draft } from "./answer.js";
import { Deck } from "./deck.js";
import { listenToKeys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { listenToPointers } from "./pointer.js";
import { Item, Queue } from "./queue.js";
import { Stage } from "./stage.js";
import { CRITERIA, HINTS, TOASTS, paceWords, question } from "./words.js";

const byId = (id) => document.getElementById(id);
const page = document.body.dataset;
// A key or click meant for the item before must not answer the next one unseen.
const SETTLE_MS = 250;
const LOOK_AGAIN_MS = 15_000;
const CLAIM_AGAIN_MS = 1000;
const HISTORY = 50;

async function refreshToken() {
  const response = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (!response?.ok || response.redirected) return false;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const token = fresh.querySelector('meta[name="csrf-token"]')?.content;
  if (!token || String(fresh.body.dataset.person) !== page.person) return false;
  document.querySelector('meta[name="csrf-token"]').content = token;
  return true;
}

class Judge {
  constructor() {
    this.current = null;
    this.draft = null;
    this.editing = false;
    this.shownAt = 0;
    this.spent = 0;
    this.history = [];
    this.resting = "loading";
    this.done = 0;
    this.active = performance.now();
    this.outbox = new Outbox(page.person, page.project, refreshToken);
    const hands = {
      ids: () => [...this.outbox.assignments, ...(this.current && !this.editing ? [this.current.id] : []), ...(this.parked ? [this.parked.item.id] : [])],
      showing: () => Boolean(this.parked || (this.current && !this.editing)),
    };
    this.queue = new Queue(page.project, hands, refreshToken);
    this.stage = new Stage(byId("screen"), byId("context"), byId("stage"), (index) => this.press(index));
    this.deck = new Deck(this);
    this.#listen();
  }

  #listen() {
    listenToPointers(this.stage, { send: () => this.send(), undo: () => this.undo() });
    listenToKeys(this);
    this.outbox.addEventListener("change", () => this.#onOutbox());
    this.outbox.addEventListener("refused", ({ detail }) => this.#onRefused(detail));
    this.queue.addEventListener("change", () => this.#onQueue());
    this.queue.addEventListener("lost", ({ detail }) => this.#onLost(detail));
    addEventListener("beforeunload", (event) => {
      if (this.outbox.waiting && this.outbox.state !== "loggedOut") event.preventDefault();
    });
    addEventListener("online", () => this.queue.fill());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") {
        this.outbox.kick();
        this.queue.fill();
      }
    });
    // After a mouse click the keys are the page's again, not the button's.
    addEventListener("click", (event) => {
      if (event.detail > 0 && event.target.closest?.("main button, footer button[type=button]")) document.activeElement?.blur();
    });
    for (const type of ["pointerdown", "keydown"]) addEventListener(type, () => { this.active = performance.now(); });
    const lease = Number(page.leaseSeconds) * 1000;
    setInterval(() => {
      const isHere = document.visibilityState === "visible" && performance.now() - this.active < 2 * lease;
      if (isHere && !this.resting) this.queue.fill();
    }, lease / 3);
    setInterval(() => {
      if (["waiting", "empty", "paused", "finished", "offline"].includes(this.resting)) this.queue.fill();
    }, LOOK_AGAIN_MS);
  }

  // --- showing -----------------------------------------------------------------------------------------------------

  async next() {
    this.editing = false;
    const item = this.parked?.item ?? this.queue.take();
    const draft = this.parked?.draft ?? null;
    const spent = this.parked?.spent ?? 0;
    this.parked = null;
    if (!item) {
      this.current = null;
      this.draft = null;
      delete page.ready;
      this.stage.clear();
      this.deck.rest(this.#restingState());
      this.queue.fill();
      return;
    }
    const shown = this.show(item, { draft, spent });
    this.queue.fill();
    await shown;
    if (!this.queue.items.length) this.queue.fill();
  }

  #restingState() {
    return this.queue.state === "ready" ? "loading" : this.queue.state;
  }

  async show(item, { draft = null, answer = null, spent = 0 } = {}) {
    this.current = item;
    this.draft = null;
    this.stage.root.classList.add("stale");
    delete page.ready;
    const pictures = await item.prepare();
    if (this.current !== item) return;
    this.draft = draft ?? new Draft(item, { reasons: this.#reasonsOf(item), autoSend: page.autoSend === "yes", answer });
    if (!draft && !answer) this.#restoreDraft();
    this.deck.wake();
    this.deck.context(item, pictures, question(item.criterion, item.isPair));
    byId("criterion").textContent = CRITERIA[item.criterion];
    this.stage.show(item, pictures);
    this.shownAt = performance.now();
    this.spent = spent;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => { page.ready = item.id; }, SETTLE_MS);
    this.refresh();
    this.deck.say(`Comparison ${this.done + 1}. ${item.images.length} candidates. ${item.prompt}`);
    if (pictures.candidates.some((image) => "broken" in image.dataset)) this.deck.toast(TOASTS.image);
  }

  // An arena vote is a verdict between two generators: one key, unless the project insists on reasons.
  #reasonsOf(item) {
    return item.kind === "arena" && page.reasons === "optional" ? "off" : page.reasons;
  }

  refresh(hint = "") {
    if (!this.draft) return;
    this.stage.mark(this.draft);
    this.deck.refresh(this.draft, { editing: this.editing, hint: hint || (this.editing && !this.draft.changed ? HINTS.edit : "") });
    if (!this.editing) sessionStorage.setItem("inpaintdpo.draft", JSON.stringify({ id: this.current.id, state: this.draft.state }));
  }

  #restoreDraft() {
    const kept = JSON.parse(sessionStorage.getItem("inpaintdpo.draft") ?? "null");
    if (kept?.id === this.current.id && kept.state.marks.length === this.draft.count) this.draft.state = kept.state;
  }

  #pace() {
    const { progress } = this.queue;
    if (!progress) return;
    // What the server counted a moment ago never takes back what was judged since.
    this.done = Math.max(this.done, progress.done);
    const total = Math.max(this.done, progress.done + progress.left);
    this.deck.pace(paceWords(progress, this.done, total), this.done, total);
  }

  // --- answering ---------------------------------------------------------------------------------------------------

  get ready() {
    return Boolean(this.draft) && !this.resting && Boolean(page.ready);
  }

  press(index) {
    if (!this.ready) return;
    const sends = this.draft.press(index);
    this.refresh();
    this.deck.say(this.stage.tiles[index]?.pick.getAttribute("aria-label") ?? "");
    if (sends) this.send();
  }

  settle(outcome) {
    if (!this.ready || !this.draft.isPair) return;
    const sends = this.draft.settle(outcome);
    this.refresh();
    if (sends) this.send();
  }

  reason(name, comment = null) {
    if (!this.ready) return;
    const result = this.draft.reason(name, comment);
    this.refresh(result === "hint" ? HINTS.noLoser : "");
    if (result === "send") this.send();
  }

  send() {
    if (!this.ready) return;
    if (this.editing && !this.draft.changed) {
      this.leaveEdit();
      return;
    }
    const missing = this.draft.missing();
    if (missing) {
      this.refresh(missing);
      return;
    }
    this.#leave(this.draft.body(this.#seconds()));
  }

  skip(reason) {
    if (this.ready) this.#leave({ outcome: "skip", skip_reason: reason, seconds: Math.round(this.#seconds() * 10) / 10 });
  }

  #seconds() {
    return this.spent + (performance.now() - this.shownAt) / 1000;
  }

  #leave(body) {
    const item = this.current;
    const entry = this.history.find((each) => each.item.id === item.id);
    if (this.editing) {
      this.outbox.revise(item.id, body);
    } else {
      this.outbox.submit(item.id, body);
      if (body.outcome !== "skip") this.done += 1;
    }
    const answer = body.marks || body.outcome !== "choice" ? body : { ...body, marks: this.draft.state.marks.map((mark, index) => ({ mark, reasons: this.draft.state.reasons[index] })) };
    const stored = { comment: "", ...answer };
    if (entry) entry.answer = stored;
    else this.history.push({ item, answer: stored });
    this.history.splice(0, Math.max(0, this.history.length - HISTORY));
    sessionStorage.removeItem("inpaintdpo.draft");
    this.deck.last(stored);
    this.#pace();
    this.next();
  }

  async undo() {
    if (this.resting && !["finished", "waiting", "empty"].includes(this.resting)) return;
    if (!this.resting && this.draft?.undo()) {
      this.refresh();
      return;
    }
    await this.#fillHistory();
    const at = this.editing ? this.history.findIndex((each) => each.item.id === this.current.id) : this.history.length;
    const before = this.history[at - 1];
    if (!before) {
      this.refresh(HINTS.start);
      return;
    }
    if (this.current && !this.editing) this.parked = { item: this.current, draft: this.draft, spent: this.#seconds() };
    this.editing = true;
    await this.show(before.item, { answer: before.answer });
  }

  /** After a reload the page remembers nothing: the server does. */
  async #fillHistory() {
    if (this.history.length || this.asked) return;
    this.asked = true;
    try {
      const { items } = await request("GET", `/api/v1/projects/${page.project}/judgments?limit=5`);
      for (const judgment of items.reverse()) {
        const { assignment, answer } = await request("GET", `/api/v1/assignments/${judgment.assignment_id}`);
        this.history.push({ item: new Item(assignment), answer });
      }
    } catch {
      this.asked = false;
    }
  }

  leaveEdit() {
    if (this.editing) this.next();
  }

  // --- resting -----------------------------------------------------------------------------------------------------

  pause() {
    if (this.resting || !this.draft) return;
    this.spent = this.#seconds();
    this.deck.rest("resting");
  }

  async goOn() {
    const was = this.resting;
    if (was === "resting") {
      this.deck.wake();
      this.shownAt = performance.now();
      this.queue.fill();
    } else if (was === "elsewhere") {
      this.begin({ steal: true });
    } else {
      this.outbox.kick();
      await this.queue.fill();
    }
  }

  /** One window at a time, where the browser can tell (it can on https and on this machine). */
  begin({ steal = false } = {}) {
    const start = () => {
      if (this.draft) this.deck.wake();
      else this.deck.rest("loading");
      this.outbox.kick();
      this.queue.fill();
    };
    if (!navigator.locks) {
      start();
      return;
    }
    const options = steal ? { steal: true } : { ifAvailable: true };
    navigator.locks
      .request(`inpaintdpo.judge.${page.person}.${page.project}`, options, (lock) => {
        if (!lock) {
          this.deck.rest("elsewhere");
          return null;
        }
        start();
        return new Promise(() => {});
      })
      .catch(() => this.deck.rest("elsewhere"));
  }

  #onOutbox() {
    this.deck.saved(this.outbox);
    if (this.outbox.state === "loggedOut" && this.resting !== "loggedOut") this.deck.rest("loggedOut");
    if (this.outbox.state === "ok" && this.resting === "loggedOut") this.queue.fill();
  }

  #onQueue() {
    if (this.queue.state === "loggedOut") {
      this.deck.rest("loggedOut");
      return;
    }
    this.#pace();
    this.deck.saved(this.outbox, this.queue.state === "offline");
    if (this.resting === "resting" || this.resting === "elsewhere") return;
    if (this.resting === "loggedOut" && this.queue.state !== "offline") {
      this.outbox.kick();
      this.deck.wake();
      if (this.draft) return;
    }
    if (this.draft || (this.current && !this.editing)) return;
    if (this.queue.items.length) {
      this.next();
      return;
    }
    this.deck.rest(this.#restingState(), this.queue.problem);
    // All that was offered is already in hand or lost: what is free now, the next claim tells.
    if (this.queue.state === "ready") setTimeout(() => this.queue.fill(), CLAIM_AGAIN_MS);
  }

  #onLost(ids) {
    if (this.current && !this.editing && ids.includes(this.current.id)) {
      this.deck.toast(TOASTS.lost);
      this.draft = null;
      this.next();
    }
    if (this.parked && ids.includes(this.parked.item.id)) this.parked = null;
  }

  #onRefused({ entry, problem }) {
    this.history = this.history.filter((each) => each.item.id !== entry.assignment);
    if (problem.code === "already_judged") this.deck.toast(TOASTS.elsewhere);
    else if (problem.code === "lease_lost") this.deck.toast(TOASTS.late);
    else this.deck.toast(TOASTS.dropped(problem.message));
    this.queue.fill();
  }
}

new Judge().begin();
