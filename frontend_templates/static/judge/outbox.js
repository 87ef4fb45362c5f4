// Answers on their way: kept in this browser until the server has them, whatever happens to the network, the session
// or the page. Each entry lies under a key of its own, so that two windows never overwrite each other.

import { Problem, request } from "../js/http.js";

const LONGEST_WAIT = 30_000;

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox extends EventTarget {
  /**
   * Events: `change` (state or number), `stored` (detail: judgment, claim), `refused` (detail: entry, problem).
   * Answers take along what `claim()` asks for; `asking` while one is on its way.
   */
  constructor(person, project, claim) {
    super();
    this.claim = claim;
    this.prefix = `inpaintdpo.outbox.${person}.${project}.`;
    this.state = "ok";
    this.tries = 0;
    this.timer = null;
    this.busy = this.asking = false;
    this.count = 0;
    addEventListener("online", () => this.kick());
    addEventListener("storage", () => this.#changed());
  }

  #keys() {
    const keys = [];
    for (let index = 0; index < localStorage.length; index += 1) {
      const key = localStorage.key(index);
      if (key?.startsWith(this.prefix)) keys.push(key);
    }
    return keys.sort();
  }

  get waiting() {
    return this.#keys().length;
  }

  /** Assignments that still have something to send. */
  get assignments() {
    return [...new Set(this.#keys().map((key) => JSON.parse(localStorage.getItem(key) ?? "{}").assignment))];
  }

  submit(assignment, body) {
    this.#add({ kind: "submit", assignment, key: newKey(), body });
  }

  revise(assignment, body) {
    this.#add({ kind: "revise", assignment, body });
  }

  #add(entry) {
    this.count += 1;
    const order = `${String(Date.now()).padStart(15, "0")}.${String(this.count).padStart(6, "0")}`;
    localStorage.setItem(this.prefix + order, JSON.stringify(entry));
    this.#changed();
    this.kick();
  }

  #changed(state = this.state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }

  /** Sends now what can be sent. */
  kick() {
    clearTimeout(this.timer);
    if (!this.busy) this.#send();
  }

  async #send() {
    this.busy = true;
    try {
      for (let key = this.#keys()[0]; key; key = this.#keys()[0]) {
        const stored = localStorage.getItem(key);
        if (stored !== null && !(await this.#sendOne(JSON.parse(stored)))) return;
        localStorage.removeItem(key);
        this.tries = 0;
        this.#changed("ok");
      }
      if (this.state === "offline") this.#changed("ok");
    } finally {
      this.busy = false;
    }
  }

  /** Whether the entry is settled, by success or by a refusal that will not change. */
  async #sendOne(entry) {
    const url = `/api/v1/assignments/${entry.assignment}/judgment`;
    try {
      const method = entry.kind === "submit" ? "POST" : "PATCH";
      const headers = entry.key ? { "idempotency-key": entry.key } : {};
      const claim = entry.key && this.claim();
      this.asking = Boolean(claim);
      const body = claim ? { ...entry.body, next: claim } : entry.body;
      const judgment = await request(method, url, body, { headers, keepalive: true });
      // The sign-in page of a proxy comes with 200 as well.
      if (!judgment?.id) throw new Problem({ status: 0, code: "unreachable" });
      this.asking = false;
      this.dispatchEvent(new CustomEvent("stored", { detail: { judgment, claim } }));
      return true;
    } catch (problem) {
      this.asking = false;
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 401 || problem.code === "csrf_failed") {
        this.#changed("loggedOut");
        this.#later();
        return false;
      }
      if (problem.status === 0 || problem.status >= 500 || problem.status === 429) {
        this.#changed("offline");
        this.#later();
        return false;
      }
      this.dispatchEvent(new CustomEvent("refused", { detail: { entry, problem } }));
      return true;
    }
  }

  #later() {
    const wait = Math.min(LONGEST_WAIT, 500 * 2 ** this.tries) * (0.75 + Math.random() / 2);
    this.tries += 1;
    this.timer = setTimeout(() => this.kick(), wait);
  }
}
