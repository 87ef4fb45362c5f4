// The judge screen: what is shown, what an answer does, and where the page rests when there is nothing to show.

import { Draft } from "./answer.js";
import { Deck } from "./deck.js";
import { listenToKeys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { Queue } from "./queue.js";
import { Stage } from "./stage.js";
import { say } from "./words.js";

const byId = (id) => document.getElementById(id);
const page = document.body.dataset;
// A key or click meant for the item before must not answer the next one unseen.
const SETTLE_MS = 250;
const LOOK_AGAIN_MS = 15_000;
const CLAIM_AGAIN_MS = 1000;
const HISTORY = 50;
const LATER = ["pointer", "rest", "past", "outline", "regions"];
// Whoever has not touched the page for so long has had a break already.
const BREAK_MS = 180_000;
// The service takes no longer look; a screen left open over a weekend must not cost the answer.
const MOST_SECONDS = 86_400;

export class Judge {
  constructor(Sending = Outbox, Serving = Queue) {
    this.rules = JSON.parse(page.rules);
    this.current = null;
    this.draft = null;
    this.editing = false;
    this.shownAt = 0;
    this.spent = 0;
    this.history = [];
    this.resting = "loading";
    this.done = 0;
    this.active = this.since = performance.now();
    this.outbox = new Sending(page.person, page.project, () => (this.resting === "elsewhere" ? null : this.queue.claim()));
    const hands = {
      ids: () => [...this.outbox.assignments, ...(this.current && !this.editing ? [this.current.id] : []), ...(this.parked ? [this.parked.item.id] : [])],
      showing: () => Boolean(this.parked || (this.current && !this.editing && !this.outbox.assignments.includes(this.current.id))),
    };
    this.queue = new Serving(page.project, hands);
    this.stage = new Stage(byId("screen"), byId("context"), byId("stage"), (index) => this.press(index));
    this.deck = new Deck(this);
    this.#listen();
  }

  #listen() {
    listenToKeys(this);
    this.outbox.addEventListener("change", () => this.#onOutbox());
    this.outbox.addEventListener("stored", ({ detail }) => this.#onStored(detail));
    this.outbox.addEventListener("refused", ({ detail }) => this.#onRefused(detail));
    this.queue.addEventListener("change", () => this.#onQueue());
    this.queue.addEventListener("lost", ({ detail }) => this.#onLost(detail));
    addEventListener("beforeunload", (event) => {
      if (this.outbox.waiting && this.outbox.state !== "loggedOut") event.preventDefault();
    });
    addEventListener("online", () => this.#ask());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") {
        this.outbox.kick();
        this.#ask();
      }
    });
    // After a mouse click the keys are the page's again, not the button's.
    addEventListener("click", (event) => {
      if (event.detail > 0 && event.target.closest?.("main button, footer button[type=button]")) document.activeElement?.blur();
    });
    for (const type of ["pointerdown", "keydown"]) addEventListener(type, () => this.#alive());
    const lease = Number(page.leaseSeconds) * 1000;
    setInterval(() => {
      const isHere = document.visibilityState === "visible" && performance.now() - this.active < 2 * lease;
      if (isHere && !this.resting) this.queue.fill();
    }, lease / 3);
    setInterval(() => {
      if (["waiting", "empty", "paused", "finished", "offline"].includes(this.resting)) this.queue.fill();
    }, LOOK_AGAIN_MS);
  }

  #alive() {
    const now = performance.now();
    if (now - this.active > BREAK_MS) this.since = now;
    this.active = now;
  }

  // --- showing

  /** Loads what the first view does without, while there is a network: gestures, words of rest, earlier answers. */
  async #complete() {
    this.complete = true;
    try {
      const [{ listenToPointers }] = await Promise.all(LATER.map((name) => import(`./${name}.js`)));
      listenToPointers(this.stage, { send: () => this.send(), undo: () => this.undo() });
    } catch {
      this.complete = false;
    }
  }

  async next() {
    this.editing = false;
    this.regions?.leave();
    const item = this.parked?.item ?? this.queue.take();
    const draft = this.parked?.draft ?? null;
    const spent = this.parked?.spent ?? 0;
    this.parked = null;
    if (!item) {
      this.current = null;
      this.draft = null;
      delete page.ready;
      this.stage.clear();
      this.deck.rest(this.#restingState(), this.queue.reason);
      this.#fill();
      return;
    }
    const shown = this.show(item, { draft, spent });
    this.#fill();
    await shown;
    if (!this.queue.items.length) this.#fill();
  }

  /** Claims what is missing, unless an answer on its way asks for it. */
  #fill() {
    if (!this.outbox.asking) this.#ask();
  }

  /** Claims what is missing, unless another window does. */
  #ask() {
    if (this.resting !== "elsewhere") this.queue.fill();
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
    this.draft = draft ?? new Draft(item, this.rules, answer);
    if (!draft && !answer) this.#restoreDraft();
    this.deck.wake();
    this.deck.context(item, pictures);
    this.stage.show(item, pictures);
    if (!this.complete) this.#complete();
    this.shownAt = performance.now();
    this.spent = spent;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => { page.ready = item.id; }, SETTLE_MS);
    this.refresh(this.#breakIsDue() ? say("hints.break", { minutes: this.rules.break_minutes }) : "");
    this.deck.say(say("shown", { number: this.done + 1, count: item.images.length, prompt: item.prompt }));
    if (pictures.candidates.some((image) => "broken" in image.dataset)) this.deck.toast(say("toasts.image"));
  }

  #breakIsDue() {
    const minutes = (performance.now() - this.since) / 60_000;
    if (!this.rules.break_minutes || minutes < this.rules.break_minutes) return false;
    this.since = performance.now();
    return true;
  }

  refresh(hint = "") {
    if (!this.draft) return;
    this.stage.mark(this.draft);
    if (this.regions || this.draft.state.regions.some((each) => each.length)) this.#withRegions((regions) => regions.draw());
    this.deck.refresh(this.draft, { editing: this.editing, hint: hint || (this.editing && !this.draft.changed ? say("hints.edit") : "") });
    if (!this.editing) sessionStorage.setItem("inpaintdpo.draft", JSON.stringify({ id: this.current.id, state: this.draft.state }));
  }

  #restoreDraft() {
    const kept = JSON.parse(sessionStorage.getItem("inpaintdpo.draft") ?? "null");
    if (kept?.id === this.current.id && kept.state.regions?.length === this.draft.count) this.draft.state = kept.state;
  }

  #pace() {
    const { progress } = this.queue;
    if (!progress) return;
    // What the server counted a moment ago never takes back what was judged since.
    this.done = Math.max(this.done, progress.done);
    const total = Math.max(this.done, progress.done + progress.left);
    this.deck.pace(progress, this.done, total);
  }

  // --- answering

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
    this.refresh(result === "hint" ? say("hints.noLoser") : "");
    if (result === "send") this.send();
  }

  /** Begins or ends marking places in a loser. */
  mark() {
    if (!this.ready || !this.rules.mark_regions || this.draft.policy === "off") return;
    if (this.draft.loser === null) this.refresh(say("hints.noLoser"));
    else this.#withRegions((regions) => regions.toggle());
  }

  async #withRegions(act) {
    if (!this.regions) {
      const { Regions } = await import("./regions.js");
      this.regions ??= new Regions(this);
    }
    if (this.draft) act(this.regions);
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
    this.leave(this.draft.body(this.seconds));
  }

  skip(reason) {
    if (this.ready) this.leave({ outcome: "skip", skip_reason: reason, seconds: Math.round(this.seconds * 10) / 10 });
  }

  get seconds() {
    return Math.min(MOST_SECONDS, this.spent + (performance.now() - this.shownAt) / 1000);
  }

  leave(body) {
    const item = this.current;
    const entry = this.history.find((each) => each.item.id === item.id);
    if (this.editing) {
      this.outbox.revise(item.id, body);
    } else {
      this.outbox.submit(item.id, body);
      if (body.outcome !== "skip") this.done += 1;
    }
    const stored = { comment: "", ...body, marks: this.draft.marks };
    if (entry) entry.answer = stored;
    else this.history.push({ item, answer: stored });
    this.history.splice(0, Math.max(0, this.history.length - HISTORY));
    sessionStorage.removeItem("inpaintdpo.draft");
    this.deck.last(stored, item.id);
    this.#pace();
    this.next();
  }

  async undo() {
    if (this.resting && !["finished", "waiting", "empty"].includes(this.resting)) return;
    if (!this.resting && this.draft?.undo()) {
      this.refresh();
      return;
    }
    await this.#past("goBack");
  }

  async #past(act, given) {
    await (await import("./past.js"))[act](this, given);
  }

  leaveEdit() {
    if (this.editing) this.next();
  }

  // --- resting

  pause() {
    if (this.resting || !this.draft) return;
    this.spent = this.seconds;
    this.deck.rest("resting");
  }

  async goOn() {
    const was = this.resting;
    if (was === "resting" && !this.draft) {
      this.since = performance.now();
      this.deck.rest("loading");
      this.next();
    } else if (was === "resting") {
      this.deck.wake();
      this.shownAt = this.since = performance.now();
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
    const start = async () => {
      if (this.draft) this.deck.wake();
      else this.deck.rest("loading");
      this.outbox.kick();
      if (page.assignment) await this.#past("reopen", page.assignment);
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
    this.deck.rest(this.#restingState(), this.queue.problem?.message ?? this.queue.reason);
    // All that was offered is already in hand or lost: what is free now, the next claim tells.
    if (this.queue.state === "ready") setTimeout(() => this.queue.fill(), CLAIM_AGAIN_MS);
  }

  #onLost(ids) {
    if (this.parked && ids.includes(this.parked.item.id)) this.parked = null;
    if (!this.current || this.editing || !ids.includes(this.current.id)) return;
    this.draft = null;
    this.#past("lose", this.current);
  }

  #onStored({ judgment, claim }) {
    if (judgment.revealed) this.#past("reveal", judgment);
    if (judgment.next) this.queue.accept(judgment.next, claim);
    else if (claim) this.#ask();
  }

  #onRefused({ entry, problem }) {
    this.history = this.history.filter((each) => each.item.id !== entry.assignment);
    this.#past("refuse", problem);
    this.#ask();
  }
}

if (!page.round) new Judge().begin();
