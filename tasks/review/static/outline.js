// The outline of a mask: marching squares between pixel centres, as one path in the image's own pixels.

/** For each of the 16 corner patterns (8 top left, 4 top right, 2 bottom right, 1 bottom left): edges joined. */
const EDGES = [
  "", "LB", "BR", "LR", "TR", "TRLB", "TB", "TL", "TL", "TB", "TLBR", "TR", "LR", "BR", "LB", "",
];
const MIDDLE = { T: [0.5, 0], R: [1, 0.5], B: [0.5, 1], L: [0, 0.5] };

/** Line segments [x0, y0, x1, y1] about the cells of `inside(x, y)` on a width × height raster. */
export function outlineSegments(inside, width, height) {
  const segments = [];
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const corners = [inside(x, y), inside(x + 1, y), inside(x + 1, y + 1), inside(x, y + 1)];
      const edges = EDGES[corners.reduce((pattern, corner) => 2 * pattern + Number(corner), 0)];
      for (let i = 0; i < edges.length; i += 2) {
        const [from, to] = [MIDDLE[edges[i]], MIDDLE[edges[i + 1]]];
        // A cell's corners are pixel centres, half a pixel off the raster's lines.
        segments.push([x + 0.5 + from[0], y + 0.5 + from[1], x + 0.5 + to[0], y + 0.5 + to[1]]);
      }
    }
  }
  return segments;
}

/** The outline of a mask image (white = remove) as a Path2D. */
export function outlineOf(bitmap) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x)] > 127;
  const path = new Path2D();
  for (const [x0, y0, x1, y1] of outlineSegments(inside, width, height)) {
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  }
  return path;
}
