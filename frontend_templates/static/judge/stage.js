// The candidates side by side: as large as the window lets them be, equal, never cropped; zoomed, moved, flickered and
// outlined all together.

import { say } from "./words.js";
import { Zoom } from "./zoom.js";

const GAP = 12;
const CAPTION = 36;
// A column of context must win by this much over a strip of it, or lose by less, to be taken.
const COLUMN_BONUS = 1.03;
const GLYPHS = { win: "✓", lose: "✗", tie: "=", both_good: "✓", both_bad: "✗" };

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** The columns and the tile width (pixels) that show `count` images of `aspect` (width / height) largest. */
export function bestGrid(width, height, count, aspect) {
  let best = { columns: 1, size: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const fromWidth = (width - GAP * (columns - 1)) / columns;
    const fromHeight = ((height - GAP * (rows - 1)) / rows - CAPTION) * aspect;
    const size = Math.floor(Math.min(fromWidth, fromHeight));
    if (size > best.size) best = { columns, size };
  }
  return best;
}

export class Stage {
  /** `screen` holds the context and the stage; `onPress(index)` is called for a click or tap on a candidate. */
  constructor(screen, context, root, onPress) {
    Object.assign(this, { screen, context, root, onPress });
    this.tiles = [];
    this.outlined = false;
    this.zoom = new Zoom((zoom) => this.#transform(zoom));
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(screen);
  }

  clear() {
    this.root.replaceChildren();
    this.tiles = [];
    this.item = null;
  }

  show(item, { candidates, mask }) {
    this.item = item;
    this.mask = mask;
    this.root.classList.remove("flickering", "stale");
    this.tiles = candidates.map((image, index) => this.#tile(image, candidates[(index + 1) % candidates.length], index));
    this.root.replaceChildren(...this.tiles.map((tile) => tile.figure));
    this.zoom.fit();
    if (this.outlined) this.#drawOutline();
    this.layout();
  }

  #tile(image, next, index) {
    const own = element("div", "layer own", image);
    const double = next.cloneNode();
    double.alt = "";
    const other = element("div", "layer other", double);
    const frame = element("div", "frame", own, other);
    const number = element("kbd", "number", String(index + 1));
    const mark = element("span", "mark");
    const why = element("span", "why");
    const pick = element("button", "pick");
    pick.type = "button";
    pick.addEventListener("click", () => this.onPress(index));
    const figure = element("figure", "tile", frame, element("figcaption", "caption", number, mark, why), pick);
    return { figure, frame, layers: [own, other], number, mark, why, pick };
  }

  /** Shows what the draft says of each candidate, by glyph and word. */
  mark(draft) {
    const { outcome, marks, reasons, comment, strength } = draft.state;
    this.tiles.forEach((tile, index) => {
      const said = outcome && outcome !== "choice" ? outcome : marks[index] === "none" ? "" : marks[index];
      const form = said === "win" && draft.isPair ? ["better", "slightly", "clearly"][strength ?? 0] : said;
      const word = form && say(`marks.${form}`);
      const given = marks[index] === "lose" ? reasons[index] : [];
      const why = given.map((name) => (name === "other" && comment ? `“${comment}”` : say(`reasons.${name}`))).join(" · ");
      tile.figure.dataset.mark = { both_bad: "lose", both_good: "win" }[outcome] ?? marks[index];
      tile.figure.toggleAttribute("data-touched", draft.loser === index);
      tile.mark.textContent = said ? `${GLYPHS[said]} ${word}` : "";
      if (draft.isPair && marks[index] === "lose") tile.mark.textContent = why ? "✗" : "";
      tile.why.textContent = why;
      tile.pick.setAttribute("aria-pressed", String(marks[index] === "win"));
      tile.pick.setAttribute("aria-label", `${say("candidate", { number: index + 1 })}${word ? `: ${word}` : ""}${why ? `, ${why}` : ""}`);
    });
  }

  layout() {
    if (!this.item) return;
    const aspect = this.item.width / this.item.height;
    const style = getComputedStyle(this.screen);
    const width = this.screen.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = this.screen.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    const [columnWidth, stripHeight] = width < 600 ? [Infinity, 60] : [190, 68];
    const column = bestGrid(width - columnWidth - GAP, height, this.tiles.length, aspect);
    const strip = bestGrid(width, height - stripHeight - GAP, this.tiles.length, aspect);
    const isColumn = column.size * COLUMN_BONUS >= strip.size;
    const { columns, size } = isColumn ? column : strip;
    this.screen.classList.toggle("column", isColumn);
    this.root.style.setProperty("--columns", columns);
    this.root.style.setProperty("--size", `${Math.max(size, 80)}px`);
    this.root.style.setProperty("--aspect", aspect);
  }

  #transform(zoom) {
    for (const tile of this.tiles ?? []) {
      for (const layer of tile.layers) layer.style.transform = zoom.transform;
    }
    this.root?.classList.toggle("zoomed", !zoom.isFit);
  }

  flicker(on) {
    if (this.root.classList.contains("flickering") === on) return;
    this.root.classList.toggle("flickering", on);
    this.tiles.forEach((tile, index) => {
      tile.number.textContent = String((on ? (index + 1) % this.tiles.length : index) + 1);
    });
  }

  toggleOutline() {
    this.outlined = !this.outlined;
    if (this.outlined) this.#drawOutline();
    for (const tile of this.tiles) tile.outline?.classList.toggle("hidden", !this.outlined);
    return this.outlined;
  }

  async #drawOutline() {
    const { mask } = this;
    const { drawOutline } = await import("./outline.js");
    if (this.outlined && mask === this.mask) drawOutline(this, mask);
  }

  /** The point (u, v) of a tile under the pointer, as fractions; the centre where it is over none. */
  pointOf(x, y) {
    for (const tile of this.tiles) {
      const box = tile.frame.getBoundingClientRect();
      if (x >= box.left && x <= box.right && y >= box.top && y <= box.bottom) {
        return [(x - box.left) / box.width, (y - box.top) / box.height];
      }
    }
    return [0.5, 0.5];
  }

  get tileSize() {
    const box = this.tiles[0]?.frame.getBoundingClientRect();
    return [box?.width || 1, box?.height || 1];
  }
}
