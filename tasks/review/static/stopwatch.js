// Seconds that an image was really looked at: the clock stands while the page is hidden.

export class Stopwatch {
  #sinceMs = performance.now();
  #beforeMs = 0;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#beforeMs += performance.now() - this.#sinceMs;
      this.#sinceMs = performance.now();
    });
  }

  restart() {
    this.#beforeMs = 0;
    this.#sinceMs = performance.now();
  }

  get seconds() {
    const runningMs = document.hidden ? 0 : performance.now() - this.#sinceMs;
    return Math.round(this.#beforeMs + runningMs) / 1000;
  }
}
