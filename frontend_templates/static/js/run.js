// The page of a run, live: curves and progress from the event stream, the rest taken anew from the server when it changes.

import { Board } from "./charts.js";
import { Problem, request } from "./http.js";

const run = document.getElementById("run");
const specs = JSON.parse(document.getElementById("chart-specs").textContent);
const board = new Board(document.getElementById("charts"), specs, Number(run.dataset.total), (isSmoothed) => {
  document.getElementById("charts-smoothed").hidden = !isSmoothed;
});

// Parts of the page that the server draws; after one of these events they may have changed.
const CHANGES = ["started", "resumed", "plan", "sample", "checkpoint", "warning", "finished", "failed", "cancelled"];
const REDRAW_AFTER_MS = 400;
const AGAIN_MS = 5000;

function hasCurves() {
  document.getElementById("charts-empty").hidden = true;
}

// Samples: one step at a time, chosen by a slider; without scripts all of them are shown one below the other.

let chosenStep = null; // null follows the newest

function showSamples() {
  const section = document.getElementById("samples");
  const steps = [...section.querySelectorAll(".sample-step")];
  const box = section.querySelector(".sample-slider");
  if (steps.length < 2) return;
  const slider = box.querySelector("input");
  box.hidden = false;
  section.classList.add("sample-sliding");
  const choose = (index) => {
    steps.forEach((step, place) => { step.hidden = place !== index; });
    slider.value = String(index);
    const words = Number(steps[index].dataset.step).toLocaleString("en-US");
    section.querySelector("#sample-step-words").textContent = words;
    section.querySelector("#sample-summary").textContent = steps[index].dataset.summary;
    slider.setAttribute("aria-valuetext", `after step ${words}`);
  };
  slider.addEventListener("input", () => {
    const index = Number(slider.value);
    chosenStep = index === steps.length - 1 ? null : steps[index].dataset.step;
    choose(index);
  });
  const kept = steps.findIndex((step) => step.dataset.step === chosenStep);
  choose(kept >= 0 ? kept : steps.length - 1);
}

// What the server draws

let redrawing = 0;

function redrawSoon() {
  redrawing ||= setTimeout(redraw, REDRAW_AFTER_MS);
}

async function redraw() {
  redrawing = 0;
  let fresh;
  try {
    const answer = await fetch(location.pathname, { credentials: "same-origin" });
    if (!answer.ok) return;
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // The stream comes back by itself, and brings the next occasion.
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (!other || other.innerHTML === part.innerHTML || part.contains(document.activeElement)) continue;
    if (part.dataset.live === "samples" && sameSamples(part, other)) continue;
    part.replaceChildren(...other.childNodes);
    if (part.dataset.live === "samples") showSamples();
  }
}

function sameSamples(here, there) {
  const names = (part) => [...part.querySelectorAll("img")].map((image) => image.getAttribute("src")).join();
  return names(here) === names(there);
}

// The stream

function showState(state) {
  document.getElementById("standing-words").textContent = state.words;
  document.getElementById("standing-eta").textContent = state.eta_words;
  const progress = document.getElementById("standing-progress");
  progress.max = state.total_steps;
  progress.value = state.step;
  document.getElementById("standing-steps").textContent = `Step ${state.step.toLocaleString("en-US")} of ${state.total_steps.toLocaleString("en-US")}`;
  document.getElementById("standing-percent").textContent = `${state.percent} %`;
  const seen = `${state.state} ${state.cancelling} ${state.failure ?? ""}`;
  if (run.dataset.seen !== undefined && run.dataset.seen !== seen) redrawSoon();
  run.dataset.seen = seen;
  run.dataset.state = state.state;
}

let stream = null;

function listen(after) {
  stream = new EventSource(`${run.dataset.stream}?after=${after}`);
  const on = (kind, action) => stream.addEventListener(kind, (event) => action(JSON.parse(event.data)));
  for (const kind of ["metrics", "validation"]) {
    on(kind, (event) => {
      board.put(kind, event.step, event.body.values);
      hasCurves();
    });
  }
  for (const kind of ["started", "resumed"]) on(kind, (event) => board.cut(event.step));
  for (const kind of CHANGES) on(kind, redrawSoon);
  on("state", showState);
  on("end", (state) => {
    stream.close();
    showState(state);
    redrawSoon();
  });
  // It comes back by itself from a lost connection, but not from a proxy's 502 while the server restarts.
  stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) setTimeout(beginAgain, AGAIN_MS); });
}

async function begin() {
  let curves;
  try {
    curves = await request("GET", run.dataset.curves);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  if (!curves) {
    setTimeout(beginAgain, AGAIN_MS);
    return;
  }
  board.load(curves.series);
  if (curves.series.length) hasCurves();
  if (run.dataset.active) listen(curves.last_seq);
}

/** The curves tell what the stream has missed, the page tells the rest. */
function beginAgain() {
  redrawSoon();
  begin();
}

window.addEventListener("pagehide", () => stream?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

showSamples();
begin();
