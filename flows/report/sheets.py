"""Sample grids: source, mask, removals, ground truth and figures of a few items as one PNG."""

import base64
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage

CELL_PX = 128
_GAP, _HEAD, _SIDE = 10, 34, 164
_CAPTION_LETTERS, _SMALL_LETTERS, _HEADING_LETTERS = 15, 21, 13
_FIGURE = 20
"""Height of the line of figures below the images of several methods."""
_MASK_COLOUR = (255, 64, 96)
# A grey that reads on white and on black alike: the grid's ground is transparent.
_INK = (122, 130, 139)
_HEADINGS = ("source", "mask", "removal", "ground truth", "score")


@dataclass(frozen=True)
class SampleRow:
    """One item of a grid.

    ``source`` and ``removal`` are H×W×3 uint8 RGB, ``mask`` is H×W bool, ``ground_truth`` like the source
    or None where nobody knows it, ``score`` in [0, 1] or None where no discriminator was asked.
    """

    source: RgbImage
    mask: Mask
    removal: RgbImage
    ground_truth: RgbImage | None
    score: float | None
    caption: str


@dataclass(frozen=True)
class MethodsRow:
    """One image as several methods left it.

    ``source``, each of ``removals`` and ``ground_truth`` are H×W×3 uint8 RGB, ``mask`` is H×W bool;
    ``figures`` has a short word a removal.
    """

    source: RgbImage
    mask: Mask
    removals: Sequence[RgbImage]
    ground_truth: RgbImage
    figures: Sequence[str]
    rank: str
    """One word beside the image, above ``caption``."""
    caption: str


def draw_grid(rows: Sequence[SampleRow]) -> bytes:
    """A PNG with one line of images a row under column headings, on a transparent ground.

    Images are enlarged by whole factors to at most 128 px, larger ones reduced to 128 px.
    """
    width = 4 * (CELL_PX + _GAP) + _SIDE
    canvas = np.zeros((_HEAD + len(rows) * (CELL_PX + _GAP), width, 4), np.uint8)
    for column, heading in enumerate(_HEADINGS):
        write_words(canvas, heading, (column * (CELL_PX + _GAP), 22), size_px=18, weight=500)
    for index, row in enumerate(rows):
        _draw_row(canvas, row, top=_HEAD + index * (CELL_PX + _GAP))
    return as_png(canvas)


def draw_methods(rows: Sequence[MethodsRow], methods: Sequence[str]) -> bytes:
    """A PNG with one line of images a row, a column a method, and each removal's figure below it.

    Images are fitted as ``draw_grid`` fits them.
    """
    columns = 3 + len(methods)
    height = _HEAD + len(rows) * (CELL_PX + _FIGURE + _GAP)
    canvas = np.zeros((height, columns * (CELL_PX + _GAP) + _SIDE, 4), np.uint8)
    for column, heading in enumerate(("source", "mask", *methods, "ground truth")):
        write_words(canvas, _shortened(heading), (column * (CELL_PX + _GAP), 22), size_px=18, weight=500)
    for index, row in enumerate(rows):
        top = _HEAD + index * (CELL_PX + _FIGURE + _GAP)
        images = (row.source, outlined(row.source, row.mask), *row.removals, row.ground_truth)
        for column, image in enumerate(images):
            paste(canvas, fitted(image), (column * (CELL_PX + _GAP), top))
        for column, figure in enumerate(row.figures, start=2):
            write_words(canvas, figure, (column * (CELL_PX + _GAP), top + CELL_PX + 16), size_px=15)
        left = columns * (CELL_PX + _GAP)
        write_words(canvas, row.rank, (left, top + 20), size_px=18, weight=500)
        for line, words in enumerate(textwrap.wrap(row.caption, _SMALL_LETTERS)):
            write_words(canvas, words, (left, top + 44 + 19 * line), size_px=15)
    return as_png(canvas)


def data_uri(png: bytes) -> str:
    """The PNG as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def outlined(source: RgbImage, mask: Mask) -> RgbImage:
    """A cell's image of the source with the mask tinted and outlined; up to 128×128×3 uint8."""
    image = fitted(source)
    height, width = image.shape[:2]
    large = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    tint = (image * 0.65 + np.array(_MASK_COLOUR) * 0.35).astype(np.uint8)
    image = np.where(large[..., None] > 0, tint, image)
    edges, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(image), edges, -1, _MASK_COLOUR, 2).astype(np.uint8)


def _draw_row(canvas: NDArray[np.uint8], row: SampleRow, top: int) -> None:
    images = (fitted(row.source), outlined(row.source, row.mask), fitted(row.removal))
    for column, image in enumerate(images):
        paste(canvas, image, (column * (CELL_PX + _GAP), top))
    left = 3 * (CELL_PX + _GAP)
    if row.ground_truth is None:
        write_words(canvas, "not known", (left, top + 24), size_px=18)
    else:
        paste(canvas, fitted(row.ground_truth), (left, top))
    left += CELL_PX + _GAP
    write_words(
        canvas, "–" if row.score is None else f"{row.score:.2f}", (left, top + 28), size_px=30, weight=600
    )
    for index, words in enumerate(textwrap.wrap(row.caption, _CAPTION_LETTERS)):
        write_words(canvas, words, (left, top + 58 + 22 * index), size_px=18)


def _shortened(heading: str) -> str:
    return heading if len(heading) <= _HEADING_LETTERS else heading[: _HEADING_LETTERS - 1] + "…"


def as_png(canvas: NDArray[np.uint8]) -> bytes:
    """The PNG of an H×W×4 uint8 canvas."""
    coded, data = cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGBA2BGRA))
    if not coded:
        raise RuntimeError("OpenCV cannot encode the image grid as PNG")
    return data.tobytes()


def fitted(image: RgbImage) -> RgbImage:
    """A cell's image: enlarged by a whole factor to at most 128 px, or reduced to 128 px."""
    longest = max(image.shape[:2])
    if longest > CELL_PX:
        scale = CELL_PX / longest
        return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    factor = CELL_PX // longest
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def paste(canvas: NDArray[np.uint8], image: RgbImage, corner: tuple[int, int]) -> None:
    """Lays an opaque image with its left upper corner (left, top) on a canvas."""
    left, top = corner
    height, width = image.shape[:2]
    canvas[top : top + height, left : left + width, :3] = image
    canvas[top : top + height, left : left + width, 3] = 255


def write_words(
    canvas: NDArray[np.uint8], words: str, at: tuple[int, int], *, size_px: int, weight: int = 400
) -> None:
    """One line of words with its baseline at ``at``."""
    coverage = np.zeros((*canvas.shape[:2], 3), np.uint8)
    cv2.putText(coverage, words, at, (255, 255, 255), cv2.FontFace("sans"), size_px, weight)
    inked = coverage[..., 0] > 0
    canvas[inked, :3] = _INK
    canvas[inked, 3] = coverage[inked, 0]


# Contact sheets: many small images with a few words below each, as one PNG.

_SHEET_GAP, _LINE = 10, 18
_MAX_LINES = 3
_WIDTH_PX = 1150
_LETTERS_A_CELL = 15


@dataclass(frozen=True)
class Tile:
    """Some images of one sample side by side, and what is said of it."""

    images: Sequence[RgbImage]
    """Each H×W×3 uint8; at least one."""
    caption: str


def draw_sheet(tiles: Sequence[Tile]) -> bytes:
    """A PNG with the tiles in rows, on a transparent ground; images are fitted as ``grids`` fits them."""
    widest = max(len(tile.images) for tile in tiles)
    words = [_wrapped(tile.caption, widest * _LETTERS_A_CELL) for tile in tiles]
    tile_width = widest * (CELL_PX + _SHEET_GAP) + _SHEET_GAP
    row_height = CELL_PX + max(map(len, words)) * _LINE + 2 * _SHEET_GAP
    columns = min(len(tiles), max(1, _WIDTH_PX // tile_width))
    rows = -(-len(tiles) // columns)
    canvas = np.zeros((rows * row_height, columns * tile_width, 4), np.uint8)
    for number, (tile, lines) in enumerate(zip(tiles, words, strict=True)):
        top, left = (number // columns) * row_height, (number % columns) * tile_width
        for place, image in enumerate(tile.images):
            paste(canvas, fitted(image), (left + place * (CELL_PX + _SHEET_GAP), top))
        for line, said in enumerate(lines):
            write_words(canvas, said, (left, top + CELL_PX + 16 + line * _LINE), size_px=15)
    return as_png(canvas)


def _wrapped(caption: str, letters: int) -> list[str]:
    return textwrap.wrap(caption, letters, max_lines=_MAX_LINES, placeholder=" …")
