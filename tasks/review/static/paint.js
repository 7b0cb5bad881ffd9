// One image on one canvas: which part of it, how large, and the mask's outline over it.

/** At least this share of the image's side is shown, however small the mask. */
const MIN_FRACTION = 0.4;
/** The mask's box is shown with this much of its own size about it: shadows lie beside objects. */
const MARGIN = 0.7;

/** The whole image as {x, y, width, height} in its own pixels. */
export function wholeOf(width, height) {
  return { x: 0, y: 0, width, height };
}

/** The mask's box [x0, y0, x1, y1] and its surroundings, in the image's own proportions and inside it. */
export function regionAbout([x0, y0, x1, y1], width, height) {
  const needed = Math.max((x1 - x0) / width, (y1 - y0) / height) * (1 + 2 * MARGIN);
  const share = Math.min(1, Math.max(MIN_FRACTION, needed));
  const [wide, tall] = [share * width, share * height];
  const clamp = (start, most) => Math.min(Math.max(start, 0), most);
  return {
    x: clamp((x0 + x1 - wide) / 2, width - wide),
    y: clamp((y0 + y1 - tall) / 2, height - tall),
    width: wide,
    height: tall,
  };
}

/** Paints `region` of an image at `size` CSS pixels; `outline` is a Path2D in image pixels, or null. */
export function paint(canvas, image, region, size, outline) {
  const ratio = window.devicePixelRatio;
  const [wide, tall] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
  if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
  const context = canvas.getContext("2d");
  // Photographs are enlarged smoothly: single pixels would draw the eye to edges that are not there.
  context.imageSmoothingQuality = "high";
  context.drawImage(image, region.x, region.y, region.width, region.height, 0, 0, wide, tall);
  if (outline) stroke(context, outline, region, wide / region.width, ratio);
}

/** A light line in a dark one, so that it shows on any ground. */
function stroke(context, outline, region, scale, ratio) {
  context.save();
  context.scale(scale, scale);
  context.translate(-region.x, -region.y);
  context.lineCap = "round";
  for (const [color, pixels] of [["rgb(0 0 0 / 0.75)", 3.2], ["#fff", 1.4]]) {
    context.strokeStyle = color;
    context.lineWidth = (pixels * ratio) / scale;
    context.stroke(outline);
  }
  context.restore();
}
