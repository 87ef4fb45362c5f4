// Every sentence the judge screen says.

export const CRITERIA = {
  spatial_rationality: "spatial rationality",
  foreground_consistency: "foreground consistency",
  text_alignment: "text alignment",
  overall: "overall",
};

const QUESTIONS = {
  spatial_rationality: ["Where does the subject truly fit: in size, place and viewpoint?", "Mark where the subject fits its place, and where it cannot be."],
  foreground_consistency: ["Which keeps the subject as it was?", "Mark which keep the subject as it was, and which change it."],
  text_alignment: ["Which follows the prompt better?", "Mark which follow the prompt, and which do not."],
  overall: ["Which is better, all in all?", "Mark the good ones and the bad ones."],
};

export function question(criterion, isPair) {
  return QUESTIONS[criterion][isPair ? 0 : 1];
}

export const REASONS = { scale: "scale", position: "position", viewpoint: "viewpoint", other: "other" };

export const HINTS = {
  nothing: "Nothing is marked yet.",
  needsReason: "Say what is wrong with the loser: S, P, V or O.",
  noLoser: "Reasons belong to a loser: mark one first.",
  edit: "Changing an earlier answer. ⏎ keeps it, Esc goes back.",
  start: "This is the first one: nothing to undo.",
};

export const RESTS = {
  loading: { title: "One moment", text: "The first comparison is on its way." },
  finished: { title: "All done. Thank you!", text: "You have judged everything there is for you here. New comparisons appear when new images are made.", link: "project" },
  waiting: { title: "Nothing free right now", text: "Others are working on what is left. If they leave something behind it comes to you: this page looks every few seconds.", link: "project" },
  empty: { title: "Nothing to judge yet", text: "This project has no comparisons so far. They appear here by themselves as soon as images are made.", link: "project" },
  paused: { title: "Judging is paused", text: "The project's lead has paused it. Nothing of yours is missing; come back later.", link: "project" },
  resting: { title: "Paused", text: "The clock stands still. Look away from the screen for a while: it keeps your judgment sharp.", button: "Go on", glyph: "❚❚" },
  offline: { title: "No connection", text: "Your answers are kept in this browser and leave by themselves when the network is back. You need not do anything.", button: "Try now" },
  loggedOut: { title: "You have been logged out", text: "Log in again to go on. Your answers are kept in this browser and are sent right after.", link: "login" },
  elsewhere: { title: "You are judging in another window", text: "So that nothing is judged twice, one window works at a time.", button: "Judge here instead" },
  refused: { title: "This page cannot go on", text: "", link: "project" },
};

export const TOASTS = {
  lost: "That one went to somebody else while you were away. Here is the next.",
  late: "One answer came too late: its time had run out and somebody else has judged it.",
  elsewhere: "That comparison was answered in another window already; that answer stands.",
  dropped: (words) => `One answer was not accepted: ${words}`,
  image: "An image did not load. Check the network, or skip with X 2.",
};

export function savedWords({ waiting, state }) {
  if (state === "loggedOut") return ["!", waiting ? `logged out · ${waiting} kept here` : "logged out"];
  if (state === "offline") return ["◌", waiting ? `waiting for the network (${waiting})` : "no network"];
  if (waiting) return ["◌", waiting > 1 ? `sending (${waiting})` : "sending"];
  return ["✓", "saved"];
}

export function paceWords(progress, done, total) {
  const words = `${done} / ${total}${progress.left_is_bound ? "+" : ""}`;
  return progress.seconds_each ? `${words} · ${progress.seconds_each.toFixed(1)} s each` : words;
}
