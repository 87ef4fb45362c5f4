// Live line charts: words in HTML, lines in an SVG that stretches with its frame. Draws what backend/training/charts.py
// draws for readers without scripts, and adds a crosshair that follows pointer, finger and arrow keys.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 300;
const GRID_LINES = 4;
const FACTORS = [1, 1.5, 2, 2.5, 3, 4, 5, 7.5];
// Below this many points a smoothed line would hide what there is.
const SMOOTH_FROM = 16;

function element(name, attributes = {}, parent = null, namespace = SVG) {
  const made = namespace ? document.createElementNS(namespace, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

const html = (name, attributes = {}, parent = null) => element(name, attributes, parent, null);

const signed = (text) => text.replace(/^-/, "−");

/** Whole numbers as they are, others with three significant digits. */
export function words(value) {
  if (value === undefined || value === null) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return signed(Math.round(value).toLocaleString("en-US"));
  const small = Math.abs(value) < 1e-4 ? value.toExponential(2) : value.toPrecision(3);
  const [mantissa, exponent] = small.split("e");
  const short = mantissa.includes(".") ? mantissa.replace(/0+$/, "").replace(/\.$/, "") : mantissa;
  return signed(exponent ? `${short}e${Number(exponent)}` : short);
}

function tickWords(value, gap) {
  if (Math.abs(value) < gap * 1e-6) return "0";
  if (gap < 1e-3) return signed(`${Number(value.toPrecision(2))}`.replace("e+", "e"));
  const text = value.toFixed(Math.max(0, 1 - Math.floor(Math.log10(gap))));
  return signed(text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text);
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  for (const factor of FACTORS) if (factor * power >= least * (1 - 1e-9)) return factor * power;
  return 10 * power;
}

/** Round bounds that hold all values and make the grid lines fall on round numbers. */
export function bounds(values, floor, ceiling) {
  let low = floor ?? Math.min(...values);
  let high = ceiling ?? Math.max(...values);
  if (floor === null && low > 0 && low < high / 2) low = 0;
  if (high <= low) {
    const spread = Math.abs(high) / 10 || 1;
    [low, high] = floor !== null ? [low, low + spread] : [low - spread, high + spread];
  }
  let step = niceStep((high - low) / GRID_LINES);
  let bottom = Math.floor(low / step + 1e-9) * step;
  while (bottom + step * GRID_LINES < high - 1e-9 * step) {
    step = niceStep(step * 1.01);
    bottom = Math.floor(low / step + 1e-9) * step;
  }
  return [bottom, bottom + step * GRID_LINES];
}

/** Mean over a window around each point, half as wide at the ends. */
function smoothed(values) {
  const widest = Math.max(2, Math.round(values.length / 16));
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1) + value);
  return values.map((_, index) => {
    const reach = Math.max(Math.min(widest, index, values.length - 1 - index), Math.ceil(widest / 2));
    const first = Math.max(index - reach, 0);
    const last = Math.min(index + reach, values.length - 1);
    return (sums[last + 1] - sums[first]) / (last + 1 - first);
  });
}

class Curve {
  constructor(line, style) {
    this.line = line;
    this.style = style;
    this.steps = [];
    this.values = [];
  }

  /** Adds or replaces the point at `step`. */
  put(step, value) {
    let index = this.steps.length;
    while (index > 0 && this.steps[index - 1] >= step) index -= 1;
    const same = this.steps[index] === step ? 1 : 0;
    this.steps.splice(index, same, step);
    this.values.splice(index, same, value);
  }

  /** Forgets points after `step`: a later attempt does them again. */
  cut(step) {
    while (this.steps.length && this.steps.at(-1) > step) {
      this.steps.pop();
      this.values.pop();
    }
  }

  /** Value of the last point at or before `step`. */
  at(step) {
    let found;
    for (let index = 0; index < this.steps.length && this.steps[index] <= step; index += 1) found = this.values[index];
    return found;
  }
}

/** One chart of a spec of charts.py; `figure` is its frame on the page, made where the server drew none. */
export class Chart {
  constructor(spec, totalSteps, figure) {
    this.spec = spec;
    this.total = Math.max(totalSteps, 1);
    this.curves = spec.lines.map((line, index) => new Curve(line, `s${index + 1}`));
    this.figure = figure;
    this.cursor = null;
    this.build();
  }

  build() {
    this.figure.className = "chart plot";
    this.figure.dataset.chart = this.spec.key;
    const caption = html("figcaption");
    html("strong", {}, caption).textContent = this.spec.title;
    caption.append(" ");
    html("span", {}, caption).textContent = this.spec.help;
    const frame = html("div", { class: "chart-frame" });
    this.ticks = html("div", { class: "chart-ticks", "aria-hidden": "true" }, frame);
    this.area = html("div", { class: "chart-area", tabindex: "0", role: "group", "aria-label": `${this.spec.title}: arrow keys read the values` }, frame);
    this.svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.area);
    this.readout = html("output", { class: "chart-at", hidden: "" }, this.area);
    const steps = html("div", { class: "chart-steps", "aria-hidden": "true" }, frame);
    for (const share of [0, 1, 2]) html("span", {}, steps).textContent = `${share === 2 ? "step " : ""}${Math.floor((this.total * share) / 2).toLocaleString("en-US")}`;
    this.legend = html("ul", { class: "legend" });
    this.figure.replaceChildren(caption, frame, this.legend);
    this.listen();
  }

  listen() {
    const follow = (event) => {
      const box = this.area.getBoundingClientRect();
      this.point(Math.round(((event.clientX - box.left) / box.width) * this.total));
    };
    this.area.addEventListener("pointermove", follow);
    this.area.addEventListener("pointerdown", follow);
    this.area.addEventListener("pointerleave", () => this.point(null));
    this.area.addEventListener("blur", () => this.point(null));
    this.area.addEventListener("keydown", (event) => {
      const known = [...new Set(this.curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
      if (event.key === "Escape") this.point(null);
      if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key) || !known.length) return;
      event.preventDefault();
      const here = this.cursor ?? known.at(-1);
      if (event.key === "Home") this.point(known[0]);
      else if (event.key === "End") this.point(known.at(-1));
      else if (event.key === "ArrowLeft") this.point(known.findLast((step) => step < here) ?? known[0]);
      else this.point(known.find((step) => step > here) ?? known.at(-1));
    });
  }

  /** Shows the values at `step`; null goes back to the latest. */
  point(step) {
    this.cursor = step === null ? null : Math.min(Math.max(step, 0), this.total);
    this.read();
  }

  get present() {
    return this.curves.filter((curve) => curve.values.length);
  }

  draw() {
    const present = this.present;
    this.figure.hidden = !present.length;
    if (!present.length) return;
    const values = present.flatMap((curve) => curve.values).filter(Number.isFinite);
    const [low, high] = bounds(values, this.spec.floor, this.spec.ceiling);
    const y = (value) => (HEIGHT * (high - Math.min(Math.max(value, low), high))) / (high - low);
    const x = (step) => (WIDTH * step) / this.total;
    const gap = (high - low) / GRID_LINES;
    this.ticks.replaceChildren(...Array.from({ length: GRID_LINES + 1 }, (_, index) => {
      const tick = html("span");
      tick.textContent = tickWords(high - gap * index, gap);
      return tick;
    }));
    this.svg.replaceChildren();
    for (let index = 0; index <= GRID_LINES; index += 1) this.rule("gridline", (HEIGHT / GRID_LINES) * index);
    if (low < 0 && high > 0) this.rule("zero", y(0));
    for (const curve of present) this.trace(curve, x, y);
    this.cross = element("line", { class: "crosshair", y1: 0, y2: HEIGHT, visibility: "hidden" }, this.svg);
    this.read();
  }

  rule(kind, height) {
    element("line", { class: kind, x1: 0, x2: WIDTH, y1: height.toFixed(1), y2: height.toFixed(1) }, this.svg);
  }

  trace(curve, x, y) {
    const path = (values) => values.map((value, index) => `${x(curve.steps[index]).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const many = curve.values.length >= SMOOTH_FROM && curve.line.name !== "learning_rate";
    this.isSmoothed ||= many;
    if (many) element("polyline", { class: `line faint ${curve.style}`, points: path(curve.values) }, this.svg);
    const shown = path(many ? smoothed(curve.values) : curve.values);
    const single = curve.values.length === 1;
    element("polyline", { class: `line ${curve.style}${single ? " line-dot" : ""}`, points: single ? `${shown} ${shown}` : shown }, this.svg);
  }

  /** Legend and crosshair: each curve by its dash, its name and its value. */
  read() {
    const present = this.present;
    this.legend.replaceChildren(...present.map((curve) => {
      const entry = html("li");
      const swatch = element("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" }, entry);
      element("line", { class: `line ${curve.style}`, x1: 0, y1: 4, x2: 28, y2: 4 }, swatch);
      entry.append(`${curve.line.label} `);
      html("b", {}, entry).textContent = words(this.cursor === null ? curve.values.at(-1) : curve.at(this.cursor));
      return entry;
    }));
    if (!this.cross) return;
    const shown = this.cursor !== null && present.length > 0;
    this.cross.setAttribute("visibility", shown ? "visible" : "hidden");
    this.readout.hidden = !shown;
    if (!shown) return;
    const place = ((WIDTH * this.cursor) / this.total).toFixed(1);
    this.cross.setAttribute("x1", place);
    this.cross.setAttribute("x2", place);
    const values = present.map((curve) => `${curve.line.label} ${words(curve.at(this.cursor))}`).join(", ");
    this.readout.textContent = `step ${this.cursor.toLocaleString("en-US")}`;
    this.area.ariaLabel = `${this.spec.title} at step ${this.cursor}: ${values}`;
  }
}

/** All charts of a run: takes in stored curves and single events, and draws at most once a frame. */
export class Board {
  /** `onDraw` hears whether any line is smoothed. */
  constructor(container, specs, totalSteps, onDraw = () => {}) {
    this.onDraw = onDraw;
    this.charts = specs.map((spec) => {
      const drawn = container.querySelector(`[data-chart="${spec.key}"]`);
      return new Chart(spec, totalSteps, drawn ?? html("figure", { hidden: "" }, container));
    });
    // The order of the specs, whichever of them the server drew.
    container.append(...this.charts.map((chart) => chart.figure));
    this.pending = 0;
  }

  curves() {
    return this.charts.flatMap((chart) => chart.curves);
  }

  load(series) {
    const known = new Map(series.map((entry) => [`${entry.source}/${entry.name}`, entry]));
    for (const curve of this.curves()) {
      const entry = known.get(`${curve.line.source}/${curve.line.name}`);
      if (entry) [curve.steps, curve.values] = [[...entry.steps], [...entry.values]];
    }
    this.refresh();
  }

  put(source, step, values) {
    for (const curve of this.curves()) {
      const value = curve.line.source === source ? values[curve.line.name] : undefined;
      if (typeof value === "number") curve.put(step, value);
    }
    this.refresh();
  }

  cut(step) {
    for (const curve of this.curves()) curve.cut(step);
    this.refresh();
  }

  refresh() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      for (const chart of this.charts) chart.draw();
      this.onDraw(this.charts.some((chart) => chart.isSmoothed));
    });
  }
}
