// The server's API: a request gives its JSON, or an ApiError whose message is a sentence for people.
// Every address is relative to the page, which a proxy may have put under a prefix.

const PATIENCE_MS = 15_000;

/** A refusal. `status` is HTTP's, or 0 when no answer came at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the person must sign in first, or may not answer. */
  get isOut() {
    return this.status === 401 || this.status === 403;
  }

  /** Whether the same request may succeed later: a lost network, a busy or broken server. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Requests of one page; remembers the CSRF token and how far the server's clock is ahead. */
export class Api {
  /** What `api/state` said of this session, or null before it was asked. */
  state = null;
  #aheadMs = 0;

  post = (path, body) => this.#change("POST", path, body);
  delete = (path) => this.#change("DELETE", path);

  /** Takes up the session, and its CSRF token with it. */
  async enter() {
    this.state = await this.#request("GET", "api/state");
    return this.state;
  }

  /** Milliseconds since 1970 by the server's clock, to hold against a lease's end. */
  now() {
    return Date.now() + this.#aheadMs;
  }

  async #change(method, path, body) {
    try {
      return await this.#request(method, path, body);
    } catch (fault) {
      if (fault.status !== 403 || !(await this.#isSessionNew())) throw fault;
      return this.#request(method, path, body);
    }
  }

  /** Whether another tab has signed in since; as somebody else, the page starts anew. */
  async #isSessionNew() {
    const before = this.state;
    const { csrf, person } = await this.enter();
    if (before && person !== before.person) location.reload();
    return csrf !== before?.csrf;
  }

  async #request(method, path, body) {
    const headers = { "X-Cleanplate-CSRF": this.state?.csrf ?? "" };
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
