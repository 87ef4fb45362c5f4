// Places of a hallucination in a losing image: points and boxes, in fractions of it, by pointer or by keys alone.

import { drawn, overlay } from "./drawing.js";
import { say } from "./words.js";

const MOST = 10;
const TRAVEL = 6;
const STEP = 0.05;
const FINE = 0.01;
const within = (value) => Math.min(1, Math.max(0, value));
const rounded = (value) => Math.round(value * 1e4) / 1e4;

function boxOf([ax, ay], [bx, by]) {
  return { x: rounded(Math.min(ax, bx)), y: rounded(Math.min(ay, by)), width: rounded(Math.abs(ax - bx)), height: rounded(Math.abs(ay - by)) };
}

function shape(region, className) {
  const { x, y, width, height } = region;
  if (width === undefined || width === null) return drawn("path", { d: `M${x} ${y}h1e-6`, class: className });
  return drawn("rect", { x, y, width, height, class: className });
}

export class Regions {
  constructor(judge) {
    this.judge = judge;
    this.active = false;
    this.cursor = null;
    this.corner = null;
    judge.deck.dress("regions");
    const { root } = judge.stage;
    root.addEventListener("pointerdown", (event) => this.#press(event), { capture: true });
    // While places are marked, a click on an image is one of them and no answer; the keys stay the page's.
    root.addEventListener("click", (event) => {
      if (!this.active) return;
      event.stopPropagation();
      if (event.detail > 0) document.activeElement?.blur();
    }, { capture: true });
    addEventListener("keydown", (event) => this.#key(event), { capture: true });
  }

  toggle() {
    if (this.active) {
      this.leave();
      this.judge.refresh();
      return;
    }
    this.active = true;
    this.cursor = null;
    this.judge.stage.root.classList.add("marking");
    this.judge.refresh(say("hints.marking"));
    this.judge.deck.say(say("hints.marking"));
  }

  leave() {
    this.active = false;
    this.corner = this.cursor = null;
    this.judge.stage.root.classList.remove("marking");
  }

  /** Draws the places of every loser, and the cross of the keys. */
  draw(rough = null) {
    const { stage, draft } = this.judge;
    stage.tiles.forEach((tile, index) => {
      const places = draft.state.marks[index] === "lose" ? draft.state.regions[index] : [];
      tile.places ??= overlay(stage, tile, "places", 1, 1);
      const shapes = places.flatMap((region) => [shape(region, "under"), shape(region, "over")]);
      if (rough?.index === index) shapes.push(shape(rough.region, "under"), shape(rough.region, "over"));
      if (this.active && this.cursor && draft.loser === index) {
        const [x, y] = this.cursor;
        for (const className of ["under", "over"]) {
          shapes.push(drawn("path", { d: `M${x - 0.04} ${y}h.08M${x} ${y - 0.04}v.08`, class: `${className} cross` }));
        }
        if (this.corner) shapes.push(shape(boxOf(this.corner, this.cursor), "over"));
      }
      tile.places.replaceChildren(...shapes);
    });
  }

  #add(index, region) {
    const { draft, deck } = this.judge;
    const isSpeck = region.width !== undefined && (!region.width || !region.height);
    if (draft.state.regions[index].length >= MOST || isSpeck) {
      this.judge.refresh(say("hints.marking"));
      return;
    }
    draft.step();
    draft.state.regions[index].push(region);
    draft.state.touched = index;
    this.judge.refresh(say("hints.marking"));
    deck.say(say("placed", { x: Math.round(100 * region.x), y: Math.round(100 * region.y), number: index + 1 }));
  }

  /** The point of the image under the pointer. */
  #at(tile, event) {
    const box = tile.frame.getBoundingClientRect();
    const { zoom } = this.judge.stage;
    const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [within(zoom.x + (u - 0.5) / zoom.scale), within(zoom.y + (v - 0.5) / zoom.scale)];
  }

  #press(event) {
    if (!this.active || event.button !== 0) return;
    event.stopPropagation();
    const { stage, draft } = this.judge;
    const index = stage.tiles.findIndex((tile) => tile.figure.contains(event.target));
    if (index < 0) return;
    if (draft.state.marks[index] !== "lose") {
      this.judge.refresh(say("hints.noLoser"));
      return;
    }
    const tile = stage.tiles[index];
    const from = this.#at(tile, event);
    const moved = (other) => Math.hypot(other.clientX - event.clientX, other.clientY - event.clientY) > TRAVEL;
    const drag = (other) => moved(other) && this.draw({ index, region: boxOf(from, this.#at(tile, other)) });
    const drop = (other) => {
      removeEventListener("pointermove", drag);
      if (!this.active) return;
      this.#add(index, moved(other) ? boxOf(from, this.#at(tile, other)) : { x: rounded(from[0]), y: rounded(from[1]) });
    };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", drop, { once: true });
  }

  #key(event) {
    if (!this.active || this.judge.resting || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.judge.draft.loser;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (index === null || event.target instanceof HTMLInputElement) return;
    if (by) {
      const size = event.shiftKey ? FINE : STEP;
      const [x, y] = this.cursor ?? [0.5, 0.5];
      this.cursor = [within(x + by[0] * size), within(y + by[1] * size)];
      this.draw();
      this.judge.deck.say(`${Math.round(100 * this.cursor[0])} % · ${Math.round(100 * this.cursor[1])} %`);
    } else if (event.key === "Enter" && this.cursor) {
      const [x, y] = this.cursor;
      if (this.corner) {
        const box = boxOf(this.corner, this.cursor);
        this.corner = null;
        this.#add(index, box);
      } else if (event.shiftKey) {
        this.corner = this.cursor;
      } else {
        this.#add(index, { x: rounded(x), y: rounded(y) });
      }
    } else if (event.key === "Escape") {
      this.leave();
      this.judge.refresh();
    } else {
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}
