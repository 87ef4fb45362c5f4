// A round of lessons on the judge screen: practice explains each answer, the test does not. Nothing here is a judgment.

import { Problem, request } from "../js/http.js";
import { Judge } from "./judge.js";
import { Item } from "./queue.js";
import { say } from "./words.js";

const page = document.body.dataset;
const isTest = page.round === "test";
const BASE = `/api/v1/projects/${page.project}/${isTest ? "qualification" : "practice"}`;
const RETRY_MS = 2000;

/** Serves the lessons in the place of the queue of real work. */
class Lessons extends EventTarget {
  items = [];
  state = "loading";
  problem = null;
  progress = null;
  filled = false;

  take() {
    this.items[1]?.prepare();
    return this.items.shift() ?? null;
  }

  async fill() {
    if (this.filled) return;
    try {
      const answer = await request(isTest ? "POST" : "GET", BASE, isTest ? {} : undefined);
      if (!answer) throw new Problem({ status: 0, code: "unreachable" });
      const lessons = isTest ? answer.items : answer;
      this.filled = true;
      this.items = lessons.map((data) => new Item(data));
      this.items[0]?.prepare();
      this.total = isTest ? answer.total : lessons.length;
      this.progress = { done: this.total - lessons.length, left: lessons.length };
      this.state = "ready";
      if (!lessons.length) location.assign(`/projects/${page.project}/test`);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.problem = problem;
      this.state = problem.status === 401 ? "loggedOut" : problem.status === 0 ? "offline" : "refused";
    }
    this.dispatchEvent(new Event("change"));
  }
}

/** What is answered here leaves at once and is waited for: there is nothing to keep for later. */
class Answers extends EventTarget {
  state = "ok";
  waiting = 0;
  assignments = [];

  kick() {}
}

class Round extends Judge {
  right = 0;
  feedback = null;

  async leave(body) {
    if (this.sending) return;
    this.sending = true;
    const lesson = this.current;
    try {
      const said = await this.#tell(lesson, body);
      this.done += 1;
      if (isTest) this.#nextQuestion(said);
      else this.#explain(said);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
      else this.deck.toast(problem.message);
    } finally {
      this.sending = false;
    }
  }

  /** Sends the answer until it has arrived: the service takes it once, however often it comes. */
  async #tell(lesson, body) {
    const { seconds, ...answer } = body;
    for (;;) {
      try {
        const said = await request("POST", `${BASE}/${lesson.id}`, answer);
        if (!said) throw new Problem({ status: 0, code: "unreachable" });
        return said;
      } catch (problem) {
        if (problem.status !== 0 && problem.status < 500) throw problem;
        this.deck.toast(say("rests.offline.title"));
        await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
      }
    }
  }

  #nextQuestion({ state }) {
    this.#pace();
    if (state === "open" && this.queue.items.length) this.next();
    else location.assign(`/projects/${page.project}/test`);
  }

  #explain({ is_right: isRight, expected, explanation }) {
    this.right += isRight ? 1 : 0;
    this.feedback = true;
    const words = [say(isRight ? "lesson.right" : "lesson.wrong")];
    if (!isRight) words.push(say("lesson.expected", { words: this.#inWords(expected) }));
    const why = expected.marks.flatMap((mark) => mark.reasons).map((name) => say(`reasons.${name}`));
    if (why.length) words.push([...new Set(why)].join(", "));
    if (explanation) words.push(explanation);
    this.refresh(words.join(" · "));
    const hint = document.getElementById("hint");
    hint.classList.add(isRight ? "told-right" : "told-wrong");
    document.getElementById("send-word").textContent = say("lesson.next");
    this.deck.say(words.join(". "));
  }

  #inWords({ outcome, choice, marks }) {
    if (outcome === "choice") return say("lesson.better", { number: choice === "left" ? 1 : 2 });
    if (outcome !== "marks") return say(`outcomes.${outcome}`);
    const places = (wanted) => marks.flatMap((mark, index) => (mark.mark === wanted ? [index + 1] : [])).join(", ");
    const parts = [["win", "wins"], ["lose", "loses"]].filter(([mark]) => places(mark));
    return parts.map(([mark, word]) => say(`lesson.${word}`, { numbers: places(mark) })).join("; ");
  }

  #pace() {
    this.deck.pace({ seconds_each: null, left_is_bound: false }, this.done, this.queue.total);
  }

  /** While an answer is explained, every way of answering leads on. */
  #goesOn() {
    if (!this.feedback) return false;
    this.feedback = null;
    document.getElementById("hint").classList.remove("told-right", "told-wrong");
    this.#pace();
    if (this.queue.items.length) this.next();
    else this.#end();
    return true;
  }

  async #end() {
    this.current = this.draft = null;
    this.stage.clear();
    this.ended = true;
    await this.deck.rest("practised");
    const words = say("rests.practised.text", { correct: this.right, total: this.queue.total });
    document.querySelector("#rest p").textContent = words;
  }

  send() {
    if (!this.#goesOn()) super.send();
  }

  press(index) {
    if (!this.feedback) super.press(index);
  }

  settle(outcome) {
    if (!this.feedback) super.settle(outcome);
  }

  reason(name, comment) {
    if (!this.feedback) super.reason(name, comment);
  }

  skip() {
    this.refresh(say("lesson.noSkip"));
  }

  pause() {}

  undo() {
    if (this.feedback || !this.draft?.undo()) this.deck.say(say("lesson.undone"));
    else this.refresh();
  }

  begin() {
    this.deck.rest("loading");
    this.queue.fill();
  }
}

new Round(Answers, Lessons).begin();
