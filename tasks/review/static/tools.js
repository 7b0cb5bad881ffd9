// The row under the images: which view, how near, the outline, and the scale as it is.

import { byId } from "./dom.js";

/** Joins the buttons to the viewer. */
export function joinTools(viewer) {
  for (const button of viewButtons()) button.addEventListener("click", () => viewer.setView(button.value));
  byId("zoom").addEventListener("click", () => viewer.setZoom(!viewer.isZoomed));
  byId("outline").addEventListener("click", () => viewer.toggleOutline());
  viewer.setView(matchMedia("(max-width: 700px)").matches ? "slider" : "pair");
}

/** Shows what the viewer does now. */
export function showTools(viewer) {
  for (const button of viewButtons()) button.ariaPressed = String(button.value === viewer.view);
  byId("zoom").ariaPressed = String(viewer.isZoomed);
  byId("outline").ariaPressed = String(viewer.isOutlined);
  byId("scale").textContent = viewer.size ? `${viewer.size} px, shown at ${viewer.scale.toFixed(1)}×` : "";
}

const viewButtons = () => document.querySelectorAll("#views button");
