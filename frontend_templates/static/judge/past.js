// Answers given earlier: to go back to (after a reload the page remembers nothing, the server does), what became of
// them, and what to do where a lease is lost.

import { Problem, request } from "../js/http.js";
import { Item } from "./queue.js";
import { say } from "./words.js";

/** {item, answer} of one's own assignment. */
async function answerOf(assignmentId) {
  const { assignment, answer } = await request("GET", `/api/v1/assignments/${assignmentId}`);
  return { item: new Item(assignment), answer };
}

async function remember(judge) {
  if (judge.history.length || judge.asked) return;
  judge.asked = true;
  try {
    const { items } = await request("GET", `${judge.queue.url.replace("assignments", "judgments")}?limit=5`);
    judge.history.push(...(await Promise.all(items.reverse().map((judgment) => answerOf(judgment.assignment_id)))));
  } catch {
    judge.asked = false;
  }
}

/** Shows an earlier answer to change it, unless its vote stands for good. */
async function edit(judge, { item, answer }) {
  if (item.kind === "arena" && judge.rules.reveal_after_vote && answer.outcome !== "skip") {
    judge.refresh(say("hints.final"));
    return;
  }
  if (judge.current && !judge.editing) judge.parked = { item: judge.current, draft: judge.draft, spent: judge.seconds };
  judge.regions?.leave();
  judge.editing = true;
  await judge.show(item, { answer });
}

/** Shows the answer before the one on screen. */
export async function goBack(judge) {
  await remember(judge);
  const { history } = judge;
  const at = judge.editing ? history.findIndex((each) => each.item.id === judge.current.id) : history.length;
  if (history[at - 1]) await edit(judge, history[at - 1]);
  else judge.refresh(say("hints.start"));
}

/** Shows the answer that the page was opened for. */
export async function reopen(judge, assignmentId) {
  delete document.body.dataset.assignment;
  try {
    const past = await answerOf(assignmentId);
    if (past.answer) await edit(judge, past);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    judge.deck.toast(problem.message);
  }
}

/** Goes on from a comparison whose lease is lost: to the next one, unless the page rests or somebody types. */
export function lose(judge, item) {
  const { deck, resting } = judge;
  if (judge.current !== item) return;
  if (resting !== "elsewhere") deck.toast(say("toasts.lost"));
  const isTyping = !resting && deck.row === "other";
  if (!isTyping && resting !== "resting" && resting !== "elsewhere") {
    judge.next();
    return;
  }
  judge.current = null;
  delete document.body.dataset.ready;
  // What is still being typed must neither answer the next one nor press a button of the rest.
  if (isTyping) deck.rest("resting").then(() => document.activeElement?.blur());
}

/** Says who made the two images of the vote before. */
export function reveal({ deck }, { assignment_id: id, revealed: names }) {
  if (deck.lastId !== id) return;
  deck.lastWords = [deck.lastAnswer, ...names.map((name, index) => `${index + 1}: ${name}`)].join(" · ");
  document.getElementById("hint").textContent = deck.lastWords;
}

/** Says why an answer was not taken. */
export function refuse({ deck }, problem) {
  if (problem.code === "already_judged") deck.toast(say("toasts.elsewhere"));
  else if (problem.code === "lease_lost") deck.toast(say("toasts.late"));
  else deck.toast(say("toasts.dropped", { words: problem.message }));
}
