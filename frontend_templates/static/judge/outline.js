// The subject's outline from its mask, as an SVG path in image coordinates (marching squares through edge midpoints).

import { drawn, overlay } from "./drawing.js";

// For each of the 16 corner patterns (bits: top-left, top-right, bottom-right, bottom-left inside) the segments between
// the midpoints of the cell's edges (0 top, 1 right, 2 bottom, 3 left).
const SEGMENTS = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[0, 2]], [[0, 1], [2, 3]], [[1, 2]], [[3, 1]], [[0, 1]], [[3, 0]], [],
];
const MIDPOINTS = [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]];
// Finer than a screen can show; keeps the path of a large photograph small.
const LONGEST_SIDE = 512;

/** {d, width, height}: the outline's path and the size of its coordinate system. */
function outlineOf(mask) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(mask.naturalWidth, mask.naturalHeight));
  const width = Math.max(1, Math.round(mask.naturalWidth * scale));
  const height = Math.max(1, Math.round(mask.naturalHeight * scale));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const inside = (x, y) => (x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x)] < 128 ? 1 : 0);
  const parts = [];
  for (let y = -1; y < height; y += 1) {
    for (let x = -1; x < width; x += 1) {
      const pattern = inside(x, y) | (inside(x + 1, y) << 1) | (inside(x + 1, y + 1) << 2) | (inside(x, y + 1) << 3);
      for (const [from, to] of SEGMENTS[pattern]) {
        const [ax, ay] = MIDPOINTS[from];
        const [bx, by] = MIDPOINTS[to];
        parts.push(`M${x + 0.5 + ax} ${y + 0.5 + ay}L${x + 0.5 + bx} ${y + 0.5 + by}`);
      }
    }
  }
  return { d: parts.join(""), width, height };
}

/** Draws the outline over every tile of the stage that has none yet. */
export function drawOutline(stage, mask) {
  if ("broken" in mask.dataset) return;
  const { d, width, height } = outlineOf(mask);
  for (const tile of stage.tiles.filter((each) => !each.outline)) {
    tile.outline = overlay(stage, tile, "outline", width, height);
    tile.outline.append(drawn("path", { d, class: "under" }), drawn("path", { d, class: "over" }));
  }
}
