// The server's API: a request gives its JSON, or an ApiError whose message is a sentence for people.

const PATIENCE_MS = 15_000;

/** A refusal. `status` is HTTP's, or 0 when no answer came at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the same request may succeed later: a lost network, a busy or broken server. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Requests of one page; remembers the CSRF token and how far the server's clock is ahead. */
export class Api {
  csrf = "";
  #aheadMs = 0;

  get = (path) => this.#request("GET", path);
  post = (path, body) => this.#request("POST", path, body);
  delete = (path) => this.#request("DELETE", path);

  /** Milliseconds since 1970 by the server's clock, to hold against a lease's end. */
  now() {
    return Date.now() + this.#aheadMs;
  }

  async #request(method, path, body) {
    const headers = { "X-Cleanplate-CSRF": this.csrf };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const options = { method, headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
    let response;
    try {
      response = await fetch(path, { ...options, body: body && JSON.stringify(body) });
    } catch {
      throw new ApiError(0, "The server cannot be reached.");
    }
    const clock = Date.parse(response.headers.get("Date"));
    if (clock) this.#aheadMs = clock - Date.now();
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new ApiError(response.status, answer.error ?? `The server answered ${response.status}.`);
    return answer;
  }
}
