"""Contact sheets: many small pictures with a line of words below each, as one PNG."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_specs.arrays import RgbImage
from flows.report.grids import CELL_PX, as_png, fitted, paste, write_words

_GAP, _LINE, _LINES = 10, 17, 3
_WIDTH_PX = 1150
_LETTERS_A_CELL = 20


@dataclass(frozen=True)
class Tile:
    """Some pictures of one sample side by side, and what is said of it."""

    pictures: Sequence[RgbImage]
    """Each H×W×3 uint8; at least one."""
    caption: str


def draw_sheet(tiles: Sequence[Tile]) -> bytes:
    """A PNG with the tiles in rows, on a transparent ground; pictures are fitted as ``grids`` fits them."""
    widest = max(len(tile.pictures) for tile in tiles)
    tile_width = widest * (CELL_PX + _GAP) + _GAP
    columns = max(1, _WIDTH_PX // tile_width)
    rows = -(-len(tiles) // columns)
    row_height = CELL_PX + _LINES * _LINE + 2 * _GAP
    canvas = np.zeros((rows * row_height, min(columns, len(tiles)) * tile_width, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * row_height, (number % columns) * tile_width
        for place, picture in enumerate(tile.pictures):
            paste(canvas, fitted(picture), (left + place * (CELL_PX + _GAP), top))
        lines = textwrap.wrap(tile.caption, widest * _LETTERS_A_CELL, max_lines=_LINES, placeholder=" …")
        for line, words in enumerate(lines):
            write_words(canvas, words, (left, top + CELL_PX + 16 + line * _LINE), size_px=15)
    return as_png(canvas)
