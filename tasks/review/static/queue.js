// The candidates leased to this person, first to last, each with its images on their way or here.

import { loadImages } from "./images.js";

const AHEAD = 8;
const MOST_A_LEASE = 20;
/** How long to wait before looking again when nothing was left. */
const LOOK_AGAIN_MS = 15_000;
/** A lease is asked for anew this long after its end. */
const AFTER_END_MS = 300;

/** The server's item with its images' addresses set apart from the images themselves. */
const entryOf = ({ images: urls, ...item }) => ({ ...item, urls, images: null, fault: null });

/** Keeps a few ahead. `onChange()`: the first one, or its images, changed; `onLease(fault?)`: the server was asked. */
export class Queue {
  /** Whether the server had nothing more when last asked. */
  isDry = false;
  #items = [];
  #answered = new Set();
  #filling = null;
  #timer = 0;
  #api;
  #outbox;
  #onChange;
  #onLease;

  constructor(api, outbox, { onChange, onLease }) {
    this.#api = api;
    this.#outbox = outbox;
    this.#onChange = onChange;
    this.#onLease = onLease;
  }

  /** The candidate to judge now, or undefined. Its `images` are there once they are decoded. */
  get first() {
    return this.#items[0];
  }

  clear() {
    clearTimeout(this.#timer);
    this.#items = [];
    this.#answered.clear();
    this.isDry = false;
  }

  /** Takes the first one off; its lease is used up. */
  take() {
    const item = this.#items.shift();
    this.#answered.add(item.lease);
    if (this.#items.length < AHEAD / 2) this.fill();
    return item;
  }

  /** Puts an item in front: its answer was undone. */
  putFirst(item) {
    this.#answered.delete(item.lease);
    const entry = entryOf(item);
    this.#items = [entry, ...this.#items.filter((one) => one.candidate !== item.candidate)];
    this.#load(entry);
    this.#onChange();
  }

  /** Leases until enough are ahead; harmless to call at any time. */
  fill() {
    this.#filling ??= this.#lease().finally(() => (this.#filling = null));
    return this.#filling;
  }

  async #lease() {
    const count = Math.min(MOST_A_LEASE, AHEAD + this.#outbox.unsent);
    let items;
    try {
      ({ items } = await this.#api.post("api/lease", { count }));
    } catch (fault) {
      this.#fillAgainIn(LOOK_AGAIN_MS);
      this.#onLease(fault);
      return;
    }
    const wasFirst = this.first;
    this.#dropExpired();
    for (const item of items) this.#accept(item);
    this.isDry = this.#items.length === 0;
    const firstEnd = Math.min(...this.#items.map((item) => this.#msLeft(item)));
    this.#fillAgainIn(firstEnd > 0 && !this.isDry ? firstEnd + AFTER_END_MS : LOOK_AGAIN_MS);
    this.#onLease();
    if (this.first !== wasFirst || this.isDry) this.#onChange();
  }

  #fillAgainIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.fill(), ms);
  }

  #accept(item) {
    if (this.#answered.has(item.lease) || this.#outbox.reclaim(item)) return;
    const known = this.#items.find((one) => one.candidate === item.candidate);
    if (known) {
      known.lease = item.lease;
      known.expires_at = item.expires_at;
    } else {
      const entry = entryOf(item);
      this.#items.push(entry);
      this.#load(entry);
    }
  }

  async #load(item) {
    try {
      item.images ??= await loadImages(item.urls);
    } catch (fault) {
      item.fault = fault;
    }
    if (item === this.first) this.#onChange();
  }

  #msLeft(item) {
    return Date.parse(item.expires_at) - this.#api.now();
  }

  /** The one on screen stays: its answer is taken, or kept until the candidate is ours again. */
  #dropExpired() {
    this.#items = this.#items.filter((item, place) => place === 0 || this.#msLeft(item) > 0);
  }
}
