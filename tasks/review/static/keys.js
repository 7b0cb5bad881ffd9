// Keys: each does one thing, whatever the keyboard's language, and never while somebody types.

const NAMED = { "?": "help", " ": "space", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", Escape: "escape" };

/** The key's name: a letter, a digit, or one of NAMED's; "" for any other. */
export function keyName({ key, code }) {
  if (NAMED[key]) return NAMED[key];
  if (/^[a-z0-9]$/i.test(key)) return key.toLowerCase();
  // Greek or Cyrillic letters: the place of the key tells which Latin one is meant.
  return /^Key([A-Z])$/.exec(code)?.[1].toLowerCase() ?? "";
}

/** Calls `actions[name]()` for keys that have one; `isListening()` says whether keys count now. */
export function listen(actions, isListening) {
  addEventListener("keydown", (event) => {
    const action = actions[keyName(event)];
    const isButtons = event.key === " " && event.target.closest("button, a, summary");
    if (!action || !isListening() || isTyping(event) || isButtons) return;
    event.preventDefault();
    // A key held down is one answer, not fifty.
    if (!event.repeat || event.key.startsWith("Arrow")) action();
  });
}

function isTyping(event) {
  const isText = event.target.matches("input:not([type=range]), textarea");
  return isText || event.ctrlKey || event.metaKey || event.altKey;
}
