// The words shown where there is nothing to judge, each with its next step.

import { say } from "./words.js";

const NEXT = {
  finished: "project", waiting: "project", empty: "project", paused: "project", refused: "project", unqualified: "test", practised: "test",
  loggedOut: "login", resting: "button", offline: "button", elsewhere: "button",
};

// States that the service explains better than the page, where it does.
const EXPLAINED = ["refused", "paused", "finished"];

/** Fills `root` with the words of `state`; `goOn` is what its button does. */
export function fillRest(root, state, { project, reason, goOn }) {
  const part = (tag, words) => Object.assign(document.createElement(tag), { textContent: words });
  const known = say(`rests.${state}.title`) ? state : "loading";
  root.replaceChildren(part("h2", say(`rests.${known}.title`)), part("p", (EXPLAINED.includes(known) && reason) || say(`rests.${known}.text`)));
  if (known === "resting") {
    const sign = Object.assign(part("p", "❚❚"), { className: "sign", ariaHidden: "true" });
    root.prepend(sign);
  }
  const next = NEXT[known];
  if (!next) return;
  const go = Object.assign(part(next === "button" ? "button" : "a", say(next === "project" ? "toProject" : `rests.${known}.go`)), { className: "go" });
  if (next === "login") go.href = `/login?next=${encodeURIComponent(location.pathname)}`;
  else if (next === "button") Object.assign(go, { type: "button", onclick: goOn });
  else go.href = `/projects/${project}${next === "test" ? "/test" : ""}`;
  root.append(go);
  go.focus({ preventScroll: true });
}
