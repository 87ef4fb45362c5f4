// The page's words in the reader's language: the part "screen" of its catalogue, which the page carries as JSON.

const WORDS = JSON.parse(document.getElementById("words").textContent);

/** The words under a dotted key with {names} filled in; "" where there are none. */
export function say(key, values = {}) {
  const words = key.split(".").reduce((at, part) => at?.[part], WORDS);
  return typeof words === "string" ? words.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "") : "";
}
