// The guide: on the sign-in page for everybody to read, later in a dialog a key away.

import { byId } from "./dom.js";

/** Shows the guide beside the sign-in. */
export function guideOnPage() {
  byId("guide-dialog").close();
  byId("sign-in").append(byId("guide"));
}

/** Keeps the guide in its dialog. */
export function guideInDialog() {
  byId("guide-slot").append(byId("guide"));
}

/** Opens the dialog, or closes it. */
export function toggleGuide() {
  const dialog = byId("guide-dialog");
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

export const isGuideOpen = () => byId("guide-dialog").open;
