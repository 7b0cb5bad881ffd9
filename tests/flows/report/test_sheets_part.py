"""Contact sheets: pixels where they belong, words below, whatever the tiles' number."""

import cv2
import numpy as np
import pytest

from flows.report.sheets import CELL_PX, Tile, draw_sheet


def flat(colour: tuple[int, int, int], side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def decoded(png: bytes) -> np.ndarray:
    """RGBA."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def test_images_stand_side_by_side_and_tiles_in_rows() -> None:
    tiles = [Tile([flat((n, 0, 0)), flat((0, n, 0))], f"number {n}") for n in range(10, 19)]
    sheet = decoded(draw_sheet(tiles))
    width = 2 * (CELL_PX + 10) + 10
    columns = 1150 // width
    height = len(sheet) // -(-len(tiles) // columns)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * height, (number % columns) * width
        for place, image in enumerate(tile.images):
            middle = (top + CELL_PX // 2, left + place * (CELL_PX + 10) + CELL_PX // 2)
            assert sheet[middle].tolist() == [*image[0, 0].tolist(), 255]
        words = sheet[top + CELL_PX : top + height, left : left + width]
        assert (words[..., 3] > 0).sum() > 100


def test_a_long_caption_is_cut_and_stays_inside_its_tile() -> None:
    short, long = Tile([flat((9, 9, 9))], "short"), Tile([flat((9, 9, 9))], "many words " * 40)
    sheet = decoded(draw_sheet([long, short]))
    assert sheet.shape[1] == 2 * (CELL_PX + 20)
    below = sheet[CELL_PX:, CELL_PX + 10 : CELL_PX + 20, 3]
    assert (below == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (700, 900)])
def test_any_size_fits_a_cell(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    sheet = decoded(draw_sheet([Tile([image], "any")]))
    assert (sheet[:CELL_PX, :CELL_PX, 3] == 255).any()
    assert (sheet[:CELL_PX, CELL_PX + 1 :, 3] == 0).all()
