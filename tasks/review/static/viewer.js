// The images on screen: pair, slider or flicker; the whole or the mask's surroundings; the mask's outline.

import { paint, regionAbout, wholeOf } from "./paint.js";

const VIEWS = ["pair", "slider", "flicker"];
const FLICKER_MS = 500;
const GAP_PX = 12;
const SLIDER_STEP = 0.1;
const wantsStillness = matchMedia("(prefers-reduced-motion: reduce)");

/** Draws one candidate into the stage's two canvases and keeps them as large as the stage allows. */
export class Viewer {
  view = "pair";
  isZoomed = false;
  isOutlined = true;
  /** Screen pixels (CSS) to one pixel of the image. */
  scale = 1;
  #item = null;
  #share = 0.5;
  #timer = 0;
  #stage;
  #onChange;

  /** `onChange` is called when view, zoom, outline or flicker changed. */
  constructor(stage, onChange) {
    this.#stage = stage;
    this.#onChange = onChange;
    this.source = stage.querySelector(".source canvas");
    this.removal = stage.querySelector(".removal canvas");
    this.slider = stage.querySelector("input");
    this.slider.addEventListener("input", () => this.#divide(this.slider.valueAsNumber / 100));
    stage.addEventListener("click", () => this.view === "flicker" && this.toggleFlicker());
    new ResizeObserver(() => this.draw()).observe(stage);
  }

  /** The image's own size in words, or "" while none is shown. */
  get size() {
    return this.#item ? `${this.#item.width} × ${this.#item.height}` : "";
  }

  get isFlickering() {
    return this.#timer !== 0;
  }

  /** Shows an item whose images are here, or nothing. */
  show(item) {
    this.#item = item;
    this.#stage.dataset.candidate = item?.candidate ?? "";
    this.draw();
  }

  setView(view) {
    this.view = view;
    this.#stage.dataset.view = view;
    this.#divide(0.5);
    this.#showOnly("removal");
    this.#flicker(view === "flicker" && !wantsStillness.matches);
    this.draw();
  }

  nextView() {
    this.setView(VIEWS[(VIEWS.indexOf(this.view) + 1) % VIEWS.length]);
  }

  setZoom(isZoomed) {
    this.isZoomed = isZoomed;
    this.draw();
  }

  toggleOutline() {
    this.isOutlined = !this.isOutlined;
    this.draw();
  }

  /** Starts or stops the alternation; where motion is unwelcome, each call shows the other image. */
  toggleFlicker() {
    if (this.view !== "flicker") this.setView("flicker");
    else if (wantsStillness.matches) this.#swap();
    else this.#flicker(!this.isFlickering);
  }

  /** The source or the removal alone; in the slider a step towards it. */
  lookAt(which) {
    if (this.view === "slider") {
      this.#divide(this.#share + (which === "source" ? SLIDER_STEP : -SLIDER_STEP));
      return;
    }
    if (this.view === "pair") this.setView("flicker");
    this.#flicker(false);
    this.#showOnly(which);
  }

  /** Fits the frames into the stage and paints them. */
  draw() {
    if (this.#item?.images) {
      const { width, height, mask_box: box, images } = this.#item;
      const region = this.isZoomed ? regionAbout(box, width, height) : wholeOf(width, height);
      const size = this.#fit(width / height);
      paint(this.source, images.source, region, size, this.isOutlined ? images.outline : null);
      paint(this.removal, images.removal, region, size, null);
      this.scale = size.width / region.width;
    }
    this.#onChange();
  }

  #fit(aspect) {
    const caption = this.#stage.querySelector("figcaption").offsetHeight;
    const { clientWidth: wide, clientHeight: tall } = this.#stage;
    const within = (w, h) => Math.max(1, Math.floor(Math.min(w, (h - caption) * aspect)));
    const beside = within((wide - GAP_PX) / 2, tall);
    const below = within(wide, (tall - GAP_PX) / 2);
    this.#stage.dataset.flow = beside >= below ? "beside" : "below";
    const width = this.view === "pair" ? Math.max(beside, below) : within(wide, tall);
    const size = { width, height: Math.round(width / aspect) };
    this.#stage.style.setProperty("--frame-width", `${size.width}px`);
    this.#stage.style.setProperty("--frame-height", `${size.height}px`);
    return size;
  }

  #divide(share) {
    this.#share = Math.min(1, Math.max(0, share));
    this.slider.value = 100 * this.#share;
    this.#stage.style.setProperty("--source-share", this.#share);
  }

  #flicker(isOn) {
    clearInterval(this.#timer);
    this.#timer = isOn ? setInterval(() => this.#swap(), FLICKER_MS) : 0;
    this.#onChange();
  }

  #swap() {
    this.#showOnly(this.#stage.dataset.showing === "source" ? "removal" : "source");
  }

  #showOnly(which) {
    this.#stage.dataset.showing = which;
  }
}
