// What the page says: the last answer politely, trouble at once and until it is over.

import { byId } from "./dom.js";

/** A sentence about what was just done; read out by screen readers when they are free. */
export function say(sentence) {
  byId("said").textContent = sentence;
}

/** A sentence about what is wrong and what to do, or "" when it is over. */
export function trouble(sentence) {
  const place = byId("trouble");
  if (place.textContent !== sentence) place.textContent = sentence;
  place.hidden = !sentence;
}

/** How many answers the server has not acknowledged, and what just went wrong, if anything did. */
export function showUnsent(count, fault) {
  const answers = count === 1 ? "1 answer is" : `${count} answers are`;
  if (fault && count) trouble(`${fault.message} ${answers} not sent yet: kept here and tried again; go on.`);
  else if (fault) trouble(`${fault.message} The page tries again by itself; nothing is lost.`);
  else if (!count) trouble("");
  byId("unsent").hidden = count === 0;
  byId("unsent-count").textContent = count;
}
