// Mouse, pen and fingers on the stage: drag moves, wheel and pinch zoom, a long touch flickers, a swipe sends or undoes.

const MOVED = 6;
const SWIPE = 70;
const HOLD_MS = 280;

/** `acts`: send(), undo(). Pointer travel that was a gesture does not press a candidate. */
export function listenToPointers(stage, acts) {
  const fingers = new Map();
  let start = null;
  let wasGesture = false;
  let hold = null;

  const distance = () => {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y) || 1;
  };

  stage.root.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size === 1) {
      start = { x: event.clientX, y: event.clientY };
      wasGesture = false;
      if (event.pointerType === "touch") hold = setTimeout(() => { wasGesture = true; stage.flicker(true); }, HOLD_MS);
    } else {
      clearTimeout(hold);
      wasGesture = true;
    }
  });

  addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const before = fingers.size === 2 ? distance() : 0;
    const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
    if (!wasGesture && Math.hypot(event.clientX - start.x, event.clientY - start.y) < MOVED) return;
    wasGesture = true;
    clearTimeout(hold);
    finger.x = event.clientX;
    finger.y = event.clientY;
    if (fingers.size === 2) {
      const [a, b] = [...fingers.values()];
      stage.zoom.by(distance() / before, ...stage.pointOf((a.x + b.x) / 2, (a.y + b.y) / 2));
    } else if (!stage.zoom.isFit && !stage.root.classList.contains("flickering")) {
      const [width, height] = stage.tileSize;
      stage.zoom.pan(dx / width, dy / height);
    }
  });

  const end = (event) => {
    if (!fingers.delete(event.pointerId) || fingers.size) return;
    clearTimeout(hold);
    const flickered = stage.root.classList.contains("flickering") && event.pointerType === "touch";
    if (flickered) stage.flicker(false);
    const dx = event.clientX - start.x;
    const isSwipe = event.pointerType === "touch" && stage.zoom.isFit && !flickered && Math.abs(dx) > SWIPE;
    if (event.type === "pointerup" && isSwipe && Math.abs(event.clientY - start.y) < Math.abs(dx) / 2) {
      if (dx < 0) acts.send();
      else acts.undo();
    }
  };
  addEventListener("pointerup", end);
  addEventListener("pointercancel", end);

  // The click that follows a gesture is none.
  stage.root.addEventListener("click", (event) => {
    if (wasGesture && event.detail > 0) {
      event.stopPropagation();
      event.preventDefault();
    }
  }, { capture: true });

  stage.root.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    stage.zoom.by(Math.exp(-lines * 0.0022), ...stage.pointOf(event.clientX, event.clientY));
  }, { passive: false });
  stage.root.addEventListener("contextmenu", (event) => event.preventDefault());
}
