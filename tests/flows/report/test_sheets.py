from dataclasses import replace

import cv2
import numpy as np

from flows.report.sheets import CELL_PX, MethodsRow, SampleRow, draw_grid, draw_methods, outlined

HEAD, STEP = 34, CELL_PX + 10


def decoded(png: bytes) -> np.ndarray:
    bgra = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert bgra is not None
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)


def cell(shown: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = HEAD + row * STEP, column * STEP
    return shown[top : top + CELL_PX, left : left + CELL_PX]


def test_each_image_lies_in_its_cell(sample_rows: list[SampleRow]) -> None:
    shown = decoded(draw_grid(sample_rows))
    for index, row in enumerate(sample_rows):
        for column, image in ((0, row.source), (2, row.removal), (3, row.ground_truth)):
            assert image is not None
            placed = cell(shown, index, column)
            assert (placed[..., 3] == 255).all()
            small = cv2.resize(placed[..., :3], (64, 64), interpolation=cv2.INTER_AREA)
            assert np.abs(small.astype(int) - image).mean() < 2


def test_the_mask_is_tinted_and_nothing_far_from_it(sample_rows: list[SampleRow]) -> None:
    row = sample_rows[0]
    plain = outlined(row.source, np.zeros_like(row.mask))
    drawn = outlined(row.source, row.mask)
    near = cv2.dilate(row.mask.astype(np.uint8), np.ones((7, 7), np.uint8))
    near = cv2.resize(near, (CELL_PX, CELL_PX), interpolation=cv2.INTER_NEAREST) > 0
    inside = cv2.resize(row.mask.astype(np.uint8), (CELL_PX, CELL_PX), interpolation=cv2.INTER_NEAREST) > 0
    changed = (drawn != plain).any(axis=2)
    assert not changed[~near].any()
    assert changed[inside].all()


def test_what_is_not_known_is_left_open(sample_rows: list[SampleRow]) -> None:
    unknown = replace(sample_rows[0], ground_truth=None)
    placed = cell(decoded(draw_grid([unknown])), 0, 3)
    assert (placed[40:, :, 3] == 0).all()
    assert placed[:40, :, 3].any()


def test_large_and_oblong_images_are_reduced() -> None:
    image = np.full((512, 256, 3), 90, np.uint8)
    row = SampleRow(image, np.zeros((512, 256), bool), image, image, 0.5, "x")
    placed = cell(decoded(draw_grid([row])), 0, 0)
    assert (placed[:, : CELL_PX // 2, 3] == 255).all()
    assert (placed[:, CELL_PX // 2 :, 3] == 0).all()


def test_the_score_is_written(sample_rows: list[SampleRow]) -> None:
    scored = decoded(draw_grid([sample_rows[0]]))
    other = decoded(draw_grid([replace(sample_rows[0], score=0.12)]))
    changed = np.argwhere((scored != other).any(axis=2))
    assert changed.size
    assert changed[:, 1].min() >= 4 * STEP


def test_every_method_has_its_column(sample_rows: list[SampleRow]) -> None:
    first, second = sample_rows[:2]
    assert first.ground_truth is not None
    removals = [first.removal, second.removal, second.source]
    row = MethodsRow(
        first.source, first.mask, removals, first.ground_truth, ["1 dB", "2 dB", "3 dB"], "worst", "x"
    )
    shown = decoded(draw_methods([row, row], ["telea", "base", "a very long folder's name"]))
    step = STEP + 20
    assert shown.shape[:2] == (HEAD + 2 * step, 6 * STEP + 164)
    expected = {0: first.source, 2: removals[0], 3: removals[1], 4: removals[2], 5: first.ground_truth}
    for index in (0, 1):
        for column, image in expected.items():
            top, left = HEAD + index * step, column * STEP
            placed = shown[top : top + CELL_PX, left : left + CELL_PX, :3]
            small = cv2.resize(placed, (64, 64), interpolation=cv2.INTER_AREA)
            assert np.abs(small.astype(int) - image).mean() < 2
            figure = shown[top + CELL_PX : top + CELL_PX + 20, left : left + CELL_PX, 3]
            assert figure.any() == (2 <= column <= 4)
