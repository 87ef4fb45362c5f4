// One key an answer. Keys with Ctrl, Alt or Meta stay the browser's; a held key acts once.

const REASONS = { s: "scale", p: "position", v: "viewpoint", o: "other" };
const SKIPS = { 1: "cannot_tell", 2: "broken_image", 3: "unclear_task", 4: "uncomfortable" };
const ZOOM_STEP = 1.4;

export function listenToKeys(judge) {
  const { deck, stage } = judge;

  const look = {
    f: () => stage.toggleOutline(),
    "+": () => stage.zoom.by(ZOOM_STEP),
    "=": () => stage.zoom.by(ZOOM_STEP),
    "-": () => stage.zoom.by(1 / ZOOM_STEP),
    0: () => stage.zoom.fit(),
  };
  const act = {
    arrowleft: () => judge.draft?.isPair && judge.press(0),
    arrowright: () => judge.draft?.isPair && judge.press(1),
    t: () => judge.settle("tie"),
    b: () => judge.settle("both_bad"),
    arrowup: () => judge.settle("both_good"),
    arrowdown: () => judge.settle("both_bad"),
    r: () => judge.mark(),
    x: () => (document.body.dataset.round ? judge.skip() : deck.open("skip")),
    z: () => judge.undo(),
    enter: () => judge.send(),
    escape: () => (judge.editing ? judge.leaveEdit() : judge.pause()),
  };

  function answer(key) {
    if (deck.row === "skip") {
      if (SKIPS[key]) deck.skip(SKIPS[key]);
      else if (key === "escape" || key === "x") deck.close();
      return true;
    }
    if (REASONS[key]) deck.reason(REASONS[key]);
    else if (/^[1-9]$/.test(key)) judge.press(Number(key) - 1);
    else if (act[key]) act[key]();
    else if (look[key]) look[key]();
    else return false;
    return true;
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // On a keyboard of another script the letters are told by where they lie.
    const key = (/^[\x20-\x7e]+$/.test(event.key) ? event.key : event.code.replace(/^(Key|Digit)/, "")).toLowerCase();
    const isOpen = document.querySelector("dialog[open]");
    if (event.target instanceof HTMLInputElement) {
      if (key === "escape") deck.close();
      return;
    }
    if (key === "?" || key === "g") {
      deck.dialog(key === "g" ? "guide" : "keys");
      event.preventDefault();
      return;
    }
    if (isOpen) return;
    const control = event.target.closest("a[href], button");
    if (judge.resting) {
      if (judge.resting === "resting" && (key === "escape" || (key === "enter" && !control))) judge.goOn();
      if (key === "z") judge.undo();
      return;
    }
    if (key === " ") {
      event.preventDefault();
      stage.flicker(true);
      return;
    }
    // Enter on a focused button or link is for that; everywhere else it sends.
    if (key === "enter" && control?.matches(":focus-visible")) return;
    if (event.repeat && !["+", "-", "="].includes(key)) {
      event.preventDefault();
      return;
    }
    if (answer(key)) event.preventDefault();
  });

  addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    stage.flicker(false);
    // A focused button would otherwise be clicked by the end of the flicker.
    if (!(event.target instanceof HTMLInputElement) && !judge.resting && !document.querySelector("dialog[open]")) event.preventDefault();
  });
  addEventListener("blur", () => stage.flicker(false));
}
