// Answers on their way: kept in the browser until the server has acknowledged them, tried again until then.

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;

/** Sends answers in order, the same lease with the same answer however often; nothing is lost by a reload. */
export class Outbox {
  #answers = [];
  /** Answers whose lease ran out before they arrived, by candidate. */
  #late = new Map();
  #key = "";
  #sending = null;
  #timer = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #api;
  #on;

  /** `on`: {sent(receipt), refused(answer, fault), changed(fault?), signedOut(fault)}. */
  constructor(api, on) {
    this.#api = api;
    this.#on = on;
    addEventListener("online", () => this.flush());
  }

  get unsent() {
    return this.#answers.length + this.#late.size;
  }

  /** Takes up what this person left unsent in this browser. */
  open(person) {
    this.#key = `cleanplate.unsent.${person}`;
    const kept = JSON.parse(localStorage.getItem(this.#key) ?? "[]");
    this.#answers = kept.filter((answer) => answer.lease);
    this.#late = new Map(kept.filter((answer) => !answer.lease).map((answer) => [answer.candidate, answer]));
    this.#on.changed();
    return this.flush();
  }

  add(answer) {
    this.#answers.push(answer);
    this.#keep();
    this.flush();
  }

  /** Answers a candidate that is ours again with what was said of it before; false if nothing was. */
  reclaim(item) {
    if (this.#answers.some((answer) => answer.candidate === item.candidate)) return true;
    const answer = this.#late.get(item.candidate);
    if (!answer) return false;
    this.#late.delete(item.candidate);
    this.add({ ...answer, lease: item.lease });
    return true;
  }

  /** Tries to send everything now; resolves to whether nothing is left. */
  flush() {
    clearTimeout(this.#timer);
    this.#sending ??= this.#send().finally(() => (this.#sending = null));
    return this.#sending;
  }

  async #send() {
    while (this.#answers.length) {
      const answer = this.#answers[0];
      const { candidate, ...body } = answer;
      try {
        const receipt = await this.#api.post("api/answer", body);
        this.#drop(answer);
        this.#on.sent(receipt);
      } catch (fault) {
        if (!this.#refused(answer, fault)) return false;
      }
      this.#pauseMs = FIRST_PAUSE_MS;
    }
    return true;
  }

  /** Deals with a refusal; true when the next answer may be tried at once. */
  #refused(answer, fault) {
    if (fault.isOut) {
      this.#on.signedOut(fault);
      return false;
    }
    if (fault.isPassing) {
      this.#timer = setTimeout(() => this.flush(), this.#pauseMs);
      this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
      this.#on.changed(fault);
      return false;
    }
    if (fault.status === 410) this.#late.set(answer.candidate, { ...answer, lease: "" });
    this.#drop(answer);
    this.#on.refused(answer, fault);
    return true;
  }

  #drop(answer) {
    this.#answers = this.#answers.filter((one) => one !== answer);
    this.#keep();
  }

  #keep() {
    localStorage.setItem(this.#key, JSON.stringify([...this.#answers, ...this.#late.values()]));
    this.#on.changed();
  }
}
