// A candidate's images, fetched and decoded before they are needed.

import { outlineOf } from "./outline.js";

const PAUSES_MS = [500, 2000, 5000];

/** {source, removal: ImageBitmap, outline: Path2D}; throws the last fault after some tries. */
export async function loadImages(urls) {
  const [source, removal, mask] = await Promise.all(
    [urls.source, urls.removal, urls.mask].map(decoded),
  );
  const outline = outlineOf(mask);
  mask.close();
  return { source, removal, outline };
}

async function decoded(url) {
  for (let tries = 0; ; tries++) {
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`${url}: ${response.status}`);
      return await createImageBitmap(await response.blob());
    } catch (fault) {
      if (tries === PAUSES_MS.length) throw fault;
      await new Promise((done) => setTimeout(done, PAUSES_MS[tries]));
    }
  }
}
