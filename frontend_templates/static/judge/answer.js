// A draft of one answer: what keys and taps do to it, what is missing, and its form on the wire. Knows no page.

import { HINTS } from "./words.js";

const NEXT = { none: "win", win: "lose", lose: "none" };
const SIDES = ["left", "right"];

export class Draft {
  /** `answer` is a stored answer to change; `reasons` is off, optional or required; `autoSend` a boolean. */
  constructor(item, { reasons, autoSend, answer = null }) {
    this.isPair = item.kind !== "win_lose";
    this.policy = reasons;
    this.autoSend = autoSend;
    this.count = item.images.length;
    this.state = this.#from(answer);
    this.original = JSON.stringify(this.state);
    this.steps = [];
  }

  #from(answer) {
    const state = { outcome: null, marks: Array(this.count).fill("none"), reasons: Array.from({ length: this.count }, () => []), pending: [], touched: null, comment: "" };
    if (!answer || answer.outcome === "skip") return state;
    state.comment = answer.comment;
    state.outcome = answer.outcome === "marks" ? null : answer.outcome;
    if (!["tie", "both_bad"].includes(answer.outcome)) {
      answer.marks.forEach((mark, index) => {
        state.marks[index] = mark.mark;
        state.reasons[index] = [...mark.reasons];
        if (mark.mark === "lose") state.touched = index;
      });
    }
    return state;
  }

  get changed() {
    return JSON.stringify(this.state) !== this.original;
  }

  #step() {
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
    if (!this.isPair) {
      this.#step();
      const mark = NEXT[this.state.marks[index]];
      this.state.marks[index] = mark;
      this.state.reasons[index] = mark === "lose" ? this.state.pending : [];
      if (mark === "lose") this.state.pending = [];
      this.state.touched = mark === "lose" ? index : this.state.marks.lastIndexOf("lose");
      if (this.state.touched < 0) this.state.touched = null;
      return false;
    }
    const again = this.state.outcome === "choice" && this.state.marks[index] === "win";
    if (again) return this.missing() === null;
    this.#step();
    const given = this.state.outcome === "choice" ? [] : this.state.pending;
    this.#clear("choice");
    const loser = 1 - index;
    this.state.marks[index] = "win";
    this.state.marks[loser] = "lose";
    this.state.reasons[loser] = given;
    this.state.touched = loser;
    if (!this.autoSend) return false;
    return this.policy === "off" || given.length > 0;
  }

  /** Tie or both bad. Returns true when the answer should leave now. */
  settle(outcome) {
    if (!this.isPair) return false;
    if (this.state.outcome === outcome) return true;
    this.#step();
    this.#clear(outcome);
    return this.autoSend;
  }

  #clear(outcome) {
    this.state.outcome = outcome;
    this.state.marks.fill("none");
    this.state.reasons = this.state.reasons.map(() => []);
    this.state.pending = [];
    this.state.touched = null;
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
    this.#step();
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
    if (this.loser !== null && this.isPair && this.autoSend && this.policy === "required" && at < 0) return "send";
    return "";
  }

  /** Why it cannot be sent yet, in words; null when it can. */
  missing() {
    const { outcome, marks, reasons } = this.state;
    if (outcome === "tie" || outcome === "both_bad") return null;
    if (marks.every((mark) => mark === "none")) return HINTS.nothing;
    const bare = marks.some((mark, index) => mark === "lose" && !reasons[index].length);
    return this.policy === "required" && bare ? HINTS.needsReason : null;
  }

  /** The answer for the API; `seconds` it was looked at. */
  body(seconds) {
    const { outcome, marks, reasons, comment } = this.state;
    const body = { outcome: outcome ?? "marks", seconds: Math.round(seconds * 10) / 10 };
    if (outcome === "choice") {
      const winner = marks.indexOf("win");
      body.choice = SIDES[winner];
      body.reasons = reasons[1 - winner];
    } else if (outcome === null) {
      body.marks = marks.map((mark, index) => ({ mark, reasons: mark === "lose" ? reasons[index] : [] }));
    }
    const usesOther = reasons.some((list, index) => marks[index] === "lose" && list.includes("other"));
    if (usesOther) body.comment = comment;
    return body;
  }
}
