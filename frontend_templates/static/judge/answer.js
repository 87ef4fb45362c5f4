// A draft of one answer: what keys and taps do to it, what is missing, and its form on the wire. Knows no page.

import { say } from "./words.js";

const NEXT = { none: "win", win: "lose", lose: "none" };
// Where another one is the best already, the next is the worst.
const NEXT_TO_BEST = { none: "lose", lose: "win", win: "none" };
const SIDES = ["left", "right"];

export class Draft {
  /** `rules` are the project's settings of answering; `answer` is a stored answer to change. */
  constructor(item, rules, answer = null) {
    this.isPair = item.kind !== "win_lose";
    // An arena vote is a verdict between two generators: one key, unless the project insists on reasons.
    this.policy = item.kind === "arena" && rules.reasons === "optional" ? "off" : rules.reasons;
    this.rules = rules;
    this.autoSend = rules.send_when_complete;
    this.count = item.images.length;
    this.state = this.#from(answer);
    this.original = JSON.stringify(this.state);
    this.steps = [];
  }

  #from(answer) {
    const lists = () => Array.from({ length: this.count }, () => []);
    const state = { outcome: null, marks: Array(this.count).fill("none"), reasons: lists(), regions: lists(), pending: [], touched: null, comment: "", strength: null };
    if (!answer || answer.outcome === "skip") return state;
    state.comment = answer.comment;
    state.strength = answer.strength ?? null;
    state.outcome = answer.outcome === "marks" ? null : answer.outcome;
    if (["marks", "choice"].includes(answer.outcome)) {
      answer.marks.forEach((mark, index) => {
        state.marks[index] = mark.mark;
        state.reasons[index] = [...mark.reasons];
        state.regions[index] = [...(mark.regions ?? [])];
        if (mark.mark === "lose") state.touched = index;
      });
    }
    return state;
  }

  get changed() {
    return JSON.stringify(this.state) !== this.original;
  }

  step() {
    this.steps.push(JSON.stringify(this.state));
  }

  /** Takes back the last step; false where there is none. */
  undo() {
    if (!this.steps.length) return false;
    this.state = JSON.parse(this.steps.pop());
    return true;
  }

  /** A key or tap on candidate `index`. Returns true when the answer should leave now. */
  press(index) {
    if (index < 0 || index >= this.count) return false;
    return this.isPair ? this.#choose(index) : this.#cycle(index);
  }

  #cycle(index) {
    const { state } = this;
    this.step();
    const hasBest = this.rules.best_worst && state.marks.some((mark, each) => mark === "win" && each !== index);
    const mark = (hasBest ? NEXT_TO_BEST : NEXT)[state.marks[index]];
    const rival = this.rules.best_worst && mark !== "none" ? state.marks.indexOf(mark) : -1;
    for (const each of rival < 0 ? [index] : [index, rival]) [state.marks[each], state.reasons[each], state.regions[each]] = ["none", [], []];
    state.marks[index] = mark;
    if (mark === "lose") [state.reasons[index], state.pending] = [state.pending, []];
    state.touched = mark === "lose" ? index : state.marks.lastIndexOf("lose");
    if (state.touched < 0) state.touched = null;
    return false;
  }

  #choose(index) {
    const { state } = this;
    if (state.outcome === "choice" && state.marks[index] === "win") {
      if (!this.rules.ask_strength || state.strength === 2) return this.missing() === null;
      this.step();
      state.strength = 2;
      return false;
    }
    this.step();
    const given = state.outcome === "choice" ? [] : state.pending;
    this.#clear("choice");
    const loser = 1 - index;
    state.marks[index] = "win";
    state.marks[loser] = "lose";
    state.reasons[loser] = given;
    state.touched = loser;
    if (this.rules.ask_strength) state.strength = 1;
    return this.autoSend && !this.rules.ask_strength && (this.policy === "off" || given.length > 0);
  }

  /** Tie, both good or both bad. Returns true when the answer should leave now. */
  settle(outcome) {
    if (this.state.outcome === outcome) return true;
    this.step();
    this.#clear(outcome);
    return this.autoSend;
  }

  #clear(outcome) {
    const fresh = this.#from(null);
    Object.assign(this.state, fresh, { outcome, comment: this.state.comment });
  }

  /** The candidate that reasons go to: the loser last touched, null where there is none yet. */
  get loser() {
    return this.state.touched;
  }

  get givenReasons() {
    return this.loser === null ? this.state.pending : this.state.reasons[this.loser];
  }

  /** Sets or unsets a reason. Returns "send", "hint" (no loser to give it to) or "". */
  reason(name, comment = null) {
    if (this.loser === null && !this.isPair && !this.state.marks.includes("none")) return "hint";
    this.step();
    const list = this.givenReasons;
    const at = list.indexOf(name);
    if (name === "other" && comment !== null) {
      this.state.comment = comment;
      if (at < 0) list.push(name);
    } else if (at >= 0) {
      list.splice(at, 1);
      if (name === "other") this.state.comment = "";
    } else {
      list.push(name);
    }
    const isLast = this.isPair && this.loser !== null && this.policy === "required" && !this.rules.ask_strength;
    return isLast && this.autoSend && at < 0 ? "send" : "";
  }

  /** Why it cannot be sent yet, in words; null when it can. */
  missing() {
    const { outcome, marks, reasons } = this.state;
    if (outcome && outcome !== "choice") return null;
    const [wins, losses] = ["win", "lose"].map((mark) => marks.filter((each) => each === mark).length);
    if (!this.isPair && this.rules.best_worst && (wins !== 1 || losses !== 1)) return say("hints.bestWorst");
    if (!wins && !losses) return !this.isPair && this.rules.allow_incomplete ? null : say("hints.nothing");
    const bare = marks.some((mark, index) => mark === "lose" && !reasons[index].length);
    return this.policy === "required" && bare ? say("hints.needsReason") : null;
  }

  /** The answer for the API; `seconds` it was looked at. */
  body(seconds) {
    const { outcome, marks, reasons, regions, comment, strength } = this.state;
    const body = { outcome: outcome ?? "marks", seconds: Math.round(seconds * 10) / 10 };
    if (outcome === "choice") {
      const winner = marks.indexOf("win");
      Object.assign(body, { choice: SIDES[winner], reasons: reasons[1 - winner], regions: regions[1 - winner], strength });
    } else if (outcome === null) {
      body.marks = this.marks;
    }
    if (marks.some((mark, index) => mark === "lose" && reasons[index].includes("other"))) body.comment = comment;
    return body;
  }

  /** What is said of each candidate, as the API has it. */
  get marks() {
    const { marks, reasons, regions } = this.state;
    return marks.map((mark, index) => ({ mark, reasons: mark === "lose" ? reasons[index] : [], regions: mark === "lose" ? regions[index] : [] }));
  }
}
