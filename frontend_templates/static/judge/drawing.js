// Drawings over the candidates; loaded once there is something to draw.

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with these attributes. */
export function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** A drawing over a tile's image that zooms with it; its coordinates reach to `width` and `height`. */
export function overlay({ zoom }, tile, className, width, height) {
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: `layer ${className}`, "aria-hidden": "true" });
  svg.style.transform = zoom.transform;
  tile.layers.push(svg);
  tile.frame.append(svg);
  return svg;
}
