// The review page: one candidate at a time is shown, answered, and taken back if need be.

import { byId } from "./dom.js";
import { say, trouble } from "./notices.js";
import { Stopwatch } from "./stopwatch.js";

const MOST_UNDOS = 50;

/** Stands between the queue, the viewer and the outbox. */
export class ReviewService {
  #pageVersion = "";
  #undoKey = "";
  #shown = null;
  #stopwatch = new Stopwatch();
  #api;
  #queue;
  #outbox;
  #viewer;

  constructor(api, queue, outbox, viewer) {
    this.#api = api;
    this.#queue = queue;
    this.#outbox = outbox;
    this.#viewer = viewer;
  }

  /** Brings the screen in step with the queue; called whenever the first candidate may have changed. */
  refresh() {
    const item = this.#queue.first;
    const state = this.#stateOf(item);
    byId("candidate").dataset.state = state;
    if (state !== "ready") this.#shown = null;
    if (state === "ready" && item !== this.#shown) this.#show(item);
  }

  /** Answers the candidate on screen; ignored while none is there to be judged. */
  decide(decision, reason) {
    const isBroken = byId("candidate").dataset.state === "broken";
    if (!this.#shown && !(isBroken && decision === "skip")) return;
    const { lease, candidate } = this.#queue.take();
    const seconds = this.#stopwatch.seconds;
    this.refresh();
    this.#outbox.add({ lease, candidate, decision, reason, seconds, page_version: this.#pageVersion });
    const words = { yes: "YES", no: `NO, ${reason}`, skip: "Skipped" }[decision];
    byId("undo").disabled = false;
    byId("said").dataset.decision = decision;
    say(words);
  }

  /** Remembers an acknowledged answer, so that it can be undone, also after a reload. */
  acknowledged({ event }) {
    this.#keepUndos([...this.#undos(), event].slice(-MOST_UNDOS));
  }

  /** Takes the last answer back and shows its candidate again. */
  async undo() {
    if (!(await this.#outbox.flush())) {
      say("The last answer is not sent yet; undo it when the server answers again.");
      return;
    }
    const events = this.#undos();
    const event = events.pop();
    if (!event) {
      say("There is nothing to undo.");
      return;
    }
    try {
      const { item } = await this.#api.post("api/undo", { event });
      this.#keepUndos(events);
      this.#queue.putFirst(item);
      byId("said").dataset.decision = "";
      say("Undone: judge it again.");
    } catch (fault) {
      if (!fault.isPassing) this.#keepUndos(events);
      trouble(fault.message);
    }
  }

  /** Begins a person's work: their answers of this tab can be undone, nobody else's. */
  open({ person, page_version: pageVersion }) {
    this.#pageVersion = pageVersion;
    this.#undoKey = `cleanplate.undo.${person}`;
    byId("undo").disabled = this.#undos().length === 0;
    this.refresh();
  }

  #stateOf(item) {
    if (item?.images) return "ready";
    if (item?.fault) return "broken";
    return !item && this.#queue.isDry ? "dry" : "loading";
  }

  #show(item) {
    this.#shown = item;
    this.#viewer.show(item);
    this.#stopwatch.restart();
    byId("class-name").textContent = item.class_name;
  }

  #undos() {
    return JSON.parse(sessionStorage.getItem(this.#undoKey) ?? "[]");
  }

  #keepUndos(events) {
    sessionStorage.setItem(this.#undoKey, JSON.stringify(events));
    byId("undo").disabled = events.length === 0;
  }
}
