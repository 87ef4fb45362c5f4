// What comes next: leases claimed ahead of time, their pictures decoded before they are needed, renewed while in hand.

import { Problem, request } from "../js/http.js";
import { say } from "./words.js";

// The one on screen and two behind it.
const AHEAD = 2;

async function load(url, alt) {
  const image = new Image();
  image.decoding = "async";
  image.draggable = false;
  image.alt = alt;
  image.src = url;
  try {
    await image.decode();
  } catch {
    image.dataset.broken = "";
  }
  return image;
}

export class Item {
  constructor(data) {
    Object.assign(this, data);
    this.isPair = this.kind !== "win_lose";
    this.pictures = null;
  }

  /** Loads and decodes all pictures once; resolves to {candidates, doubles, subject, mask}. */
  prepare() {
    this.pictures ??= Promise.all([
      Promise.all(this.images.map((url, index) => load(url, say("candidate", { number: index + 1 })))),
      load(this.subject, this.subject_name || say("subject")),
      load(this.mask, ""),
    ]).then(([candidates, subject, mask]) => {
      if (candidates.some((image) => "broken" in image.dataset)) this.pictures = null;
      return { candidates, subject, mask };
    });
    return this.pictures;
  }
}

export class Queue extends EventTarget {
  /** Events: `change`, `lost` (detail: ids). `hands` tells what the page holds: ids() and showing(). */
  constructor(project, hands) {
    super();
    this.url = `/api/v1/projects/${project}/assignments`;
    this.hands = hands;
    this.items = [];
    this.state = "loading";
    this.problem = null;
    this.progress = null;
    this.filling = null;
  }

  /** The next item or null; call `fill` once the hands hold it, so that its lease is renewed with the others. */
  take() {
    return this.items.shift() ?? null;
  }

  putBack(item) {
    this.items.unshift(item);
  }

  /** Claims what is missing and renews what is held. Calls while one is under way share it. */
  fill() {
    this.filling ??= this.#fill().finally(() => {
      this.filling = null;
    });
    return this.filling;
  }

  /** The claim for what is missing, and for nothing else. */
  claim() {
    const holding = [...new Set([...this.items.map((item) => item.id), ...this.hands.ids()])].slice(-20);
    return { count: Math.max(0, AHEAD + (this.hands.showing() ? 0 : 1) - this.items.length), holding };
  }

  /** Takes in what `claim` was answered; events as for `fill`. */
  accept(answer, claim) {
    const known = new Set([...claim.holding, ...this.hands.ids()]);
    this.items = this.items.filter((item) => !answer.lost.includes(item.id));
    for (const data of answer.items) {
      if (known.has(data.id) || this.items.some((item) => item.id === data.id)) continue;
      const item = new Item(data);
      item.prepare();
      this.items.push(item);
    }
    const { left, left_is_bound, done } = this.progress ?? {};
    this.progress = answer.progress;
    // With an answer nothing is counted anew.
    if (answer.progress.left === null) Object.assign(answer.progress, { left: Math.max(0, left + done - answer.progress.done) || 0, left_is_bound });
    this.problem = null;
    this.reason = answer.reason;
    this.state = answer.state;
    if (answer.lost.length) this.dispatchEvent(new CustomEvent("lost", { detail: answer.lost }));
    this.dispatchEvent(new Event("change"));
  }

  async #fill() {
    const claim = this.claim();
    try {
      const answer = await request("POST", this.url, claim);
      if (!answer?.items) throw new Problem({ status: 0, code: "unreachable" });
      this.accept(answer, claim);
      return;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.problem = problem;
      if (problem.status === 401 || problem.code === "csrf_failed") this.state = "loggedOut";
      else if (problem.status === 0 || problem.status >= 500 || problem.status === 429) this.state = "offline";
      else this.state = "refused";
    }
    this.dispatchEvent(new Event("change"));
  }
}
