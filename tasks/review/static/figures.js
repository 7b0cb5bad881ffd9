// The figures in the bar: this person's answers and speed, and what the batch has left.

import { byId } from "./dom.js";

/** Shows `mine` {answers, per_minute} and how many are left; `total` sets what the progress line is a share of. */
export class Figures {
  #total = 1;

  open({ person, batch, mine }) {
    this.#total = Math.max(1, batch.left + batch.answers);
    byId("person").textContent = person;
    byId("batch").textContent = batch.name;
    this.show(mine, batch.left);
  }

  show(mine, left) {
    byId("answers").textContent = mine.answers;
    byId("speed").textContent = mine.per_minute.toFixed(mine.per_minute < 10 ? 1 : 0);
    byId("left").textContent = left;
    byId("progress").style.setProperty("--done", Math.min(1, 1 - left / this.#total));
  }
}
