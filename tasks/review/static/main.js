// The page's start: its parts are made, joined, and a session is taken up or asked for.

import { Api } from "./api.js";
import { Decisions } from "./decisions.js";
import { ReviewService } from "./review.js";
import { byId } from "./dom.js";
import { Figures } from "./figures.js";
import { guideInDialog, guideOnPage, isGuideOpen, toggleGuide } from "./guide.js";
import { listen } from "./keys.js";
import { say, showUnsent, trouble } from "./notices.js";
import { Outbox } from "./outbox.js";
import { Queue } from "./queue.js";
import { joinTools, showTools } from "./tools.js";
import { Viewer } from "./viewer.js";

const LATE = "That answer came after its lease had ended; it is kept, and sent once the image is yours again.";
const RETRY_MS = 5000;

const api = new Api();
const figures = new Figures();
const outbox = new Outbox(api, {
  sent(receipt) {
    figures.show(receipt.mine, receipt.left);
    review.acknowledged(receipt);
  },
  refused(answer, fault) {
    say(fault.status === 410 ? LATE : fault.message);
    queue.fill();
  },
  changed: (fault) => showUnsent(outbox.unsent, fault),
  signedOut: askForToken,
});
const queue = new Queue(api, outbox, {
  onChange: () => review.refresh(),
  onLease: (fault) => (fault?.isOut ? askForToken(fault) : showUnsent(outbox.unsent, fault)),
});
const viewer = new Viewer(byId("stage"), () => showTools(viewer));
const review = new ReviewService(api, queue, outbox, viewer);
const decisions = new Decisions((decision, reason) => review.decide(decision, reason));

async function enter() {
  let state;
  try {
    state = await api.enter();
  } catch (fault) {
    if (!fault.isPassing) return askForToken(fault);
    trouble(`${fault.message} Trying again by itself.`);
    return void setTimeout(enter, RETRY_MS);
  }
  trouble("");
  document.body.dataset.screen = "review";
  guideInDialog();
  figures.open(state);
  decisions.open(state.reasons);
  review.open(state);
  await outbox.open(state.person);
  await queue.fill();
}

/** Also where the server refuses the person: then with its sentence. */
function askForToken(fault) {
  trouble(fault?.status === 403 ? fault.message : "");
  queue.clear();
  viewer.show(null);
  review.refresh();
  document.body.dataset.screen = "sign-in";
  guideOnPage();
  byId("token").focus();
}

async function signIn(event) {
  event.preventDefault();
  try {
    await api.post("api/session", { token: byId("token").value.trim() });
  } catch (fault) {
    trouble(fault.message);
    byId("token").select();
    return;
  }
  byId("token").value = "";
  await enter();
}

async function signOut() {
  await outbox.flush();
  try {
    await api.delete("api/session");
    askForToken();
  } catch (fault) {
    trouble(fault.message);
  }
}

byId("sign-in-form").addEventListener("submit", signIn);
byId("sign-out").addEventListener("click", signOut);
byId("undo").addEventListener("click", () => review.undo());
for (const id of ["open-guide", "close-guide"]) byId(id).addEventListener("click", toggleGuide);
joinTools(viewer);
listen(
  {
    y: () => decisions.yes(),
    n: () => decisions.askWhy(),
    s: () => decisions.skip(),
    u: () => review.undo(),
    escape: () => decisions.close(),
    ...Object.fromEntries("123456789".split("").map((digit) => [digit, () => decisions.because(Number(digit))])),
    left: () => viewer.lookAt("source"),
    right: () => viewer.lookAt("removal"),
    up: () => viewer.setZoom(true),
    down: () => viewer.setZoom(false),
    space: () => viewer.toggleFlicker(),
    v: () => viewer.nextView(),
    o: () => viewer.toggleOutline(),
  },
  () => document.body.dataset.screen === "review" && !isGuideOpen(),
);
listen({ help: toggleGuide }, () => document.body.dataset.screen === "review");
await enter();
