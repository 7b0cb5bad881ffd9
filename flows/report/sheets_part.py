"""Contact sheets: many small pictures with a few words below each, as one PNG."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_specs.arrays import RgbImage
from flows.report.sheets import CELL_PX, as_png, fitted, paste, write_words

_GAP, _LINE = 10, 18
_MOST_LINES = 3
_WIDTH_PX = 1150
_LETTERS_A_CELL = 15


@dataclass(frozen=True)
class Tile:
    """Some pictures of one sample side by side, and what is said of it."""

    pictures: Sequence[RgbImage]
    """Each H×W×3 uint8; at least one."""
    caption: str


def draw_sheet(tiles: Sequence[Tile]) -> bytes:
    """A PNG with the tiles in rows, on a transparent ground; pictures are fitted as ``grids`` fits them."""
    widest = max(len(tile.pictures) for tile in tiles)
    words = [_wrapped(tile.caption, widest * _LETTERS_A_CELL) for tile in tiles]
    tile_width = widest * (CELL_PX + _GAP) + _GAP
    row_height = CELL_PX + max(map(len, words)) * _LINE + 2 * _GAP
    columns = min(len(tiles), max(1, _WIDTH_PX // tile_width))
    rows = -(-len(tiles) // columns)
    canvas = np.zeros((rows * row_height, columns * tile_width, 4), np.uint8)
    for number, (tile, lines) in enumerate(zip(tiles, words, strict=True)):
        top, left = (number // columns) * row_height, (number % columns) * tile_width
        for place, picture in enumerate(tile.pictures):
            paste(canvas, fitted(picture), (left + place * (CELL_PX + _GAP), top))
        for line, said in enumerate(lines):
            write_words(canvas, said, (left, top + CELL_PX + 16 + line * _LINE), size_px=15)
    return as_png(canvas)


def _wrapped(caption: str, letters: int) -> list[str]:
    return textwrap.wrap(caption, letters, max_lines=_MOST_LINES, placeholder=" …")
