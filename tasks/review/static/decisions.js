// The row of decisions: NO, skip, YES; and after NO the reasons, each under its number.

import { byId, element } from "./dom.js";

const MEANINGS = {
  "left-over": "part of the object is still there",
  hallucination: "something new was painted in",
  blur: "a smear instead of texture",
  seam: "an edge shows where it was repaired",
  "effect left": "its shadow or reflection is still there",
};

/** Buttons and reasons; `onDecide(decision, reason)` hears the outcome. */
export class Decisions {
  #reasons = [];
  #onDecide;

  constructor(onDecide) {
    this.#onDecide = onDecide;
    byId("yes").addEventListener("click", () => this.yes());
    byId("no").addEventListener("click", () => this.askWhy());
    byId("skip").addEventListener("click", () => this.skip());
    byId("back").addEventListener("click", () => this.close());
  }

  open(reasons) {
    this.#reasons = reasons;
    byId("reasons").replaceChildren(...reasons.map((reason, place) => this.#button(reason, place)));
    this.close();
  }

  get isAsking() {
    return !byId("why").hidden;
  }

  yes = () => this.#decide("yes", "");
  skip = () => this.#decide("skip", "");

  askWhy() {
    byId("why").hidden = false;
    byId("choices").hidden = true;
    byId("reasons").querySelector("button").focus({ preventScroll: true });
  }

  /** NO for the reason with a number, counted from 1; one key is enough. */
  because(number) {
    const reason = this.#reasons[number - 1];
    if (reason) this.#decide("no", reason);
  }

  close() {
    // Focus must not stay on a button that is gone, or Space would press what comes in its place.
    if (this.isAsking) byId("stage").focus({ preventScroll: true });
    byId("why").hidden = true;
    byId("choices").hidden = false;
  }

  #decide(decision, reason) {
    this.close();
    this.#onDecide(decision, reason);
  }

  #button(reason, place) {
    const button = element(
      "button",
      { type: "button" },
      element("kbd", {}, String(place + 1)),
      element("span", {}, element("b", {}, reason), " ", element("small", {}, MEANINGS[reason] ?? "")),
    );
    button.addEventListener("click", () => this.because(place + 1));
    return button;
  }
}
