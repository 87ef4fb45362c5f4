// One view for all candidates: a scale and a centre in image fractions, shared by every tile.

const MOST = 16;

export class Zoom {
  constructor(onChange) {
    this.onChange = onChange;
    this.fit();
  }

  fit() {
    this.scale = 1;
    this.x = 0.5;
    this.y = 0.5;
    this.onChange(this);
  }

  get isFit() {
    return this.scale === 1;
  }

  /** Zooms by `factor` so that the point (u, v), as fractions of a tile, stays where it is. */
  by(factor, u = 0.5, v = 0.5) {
    const scale = Math.min(MOST, Math.max(1, this.scale * factor));
    const px = this.x + (u - 0.5) / this.scale;
    const py = this.y + (v - 0.5) / this.scale;
    this.scale = scale;
    this.x = px - (u - 0.5) / scale;
    this.y = py - (v - 0.5) / scale;
    this.#clamp();
  }

  /** Moves by fractions of a tile. */
  pan(du, dv) {
    this.x -= du / this.scale;
    this.y -= dv / this.scale;
    this.#clamp();
  }

  #clamp() {
    const half = 0.5 / this.scale;
    this.x = Math.min(1 - half, Math.max(half, this.x));
    this.y = Math.min(1 - half, Math.max(half, this.y));
    this.onChange(this);
  }

  /** The CSS transform of a layer that fills its tile, with its origin at the top left. */
  get transform() {
    const tx = (0.5 - this.x * this.scale) * 100;
    const ty = (0.5 - this.y * this.scale) * 100;
    return `translate(${tx}%, ${ty}%) scale(${this.scale})`;
  }
}
