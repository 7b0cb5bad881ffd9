"""ReMOVE and ReMOVE+: the geometry exactly, the arithmetic by a plain second implementation."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import SamModel

from data_specs.metric import RemovedImage
from models.metrics.remove import region_cosine, remove_metrics, square_box


@given(top=st.integers(0, 40), left=st.integers(0, 60), height=st.integers(1, 24), width=st.integers(1, 36))
def test_the_square_holds_the_region_as_far_as_the_image_allows(
    top: int, left: int, height: int, width: int
) -> None:
    region = np.zeros((64, 96), bool)
    region[top : top + height, left : left + width] = True
    rows, columns = square_box(region)
    side = rows.stop - rows.start
    assert side == columns.stop - columns.start == min(max(height, width) + 2 * 2, 64)
    assert rows.start >= 0
    assert rows.stop <= 64
    assert columns.start >= 0
    assert columns.stop <= 96
    assert region[rows, columns].sum() == region.sum()


def test_a_region_larger_than_the_image_is_square_is_cut_about_its_middle() -> None:
    region = np.zeros((32, 96), bool)
    region[10:20, 20:80] = True
    rows, columns = square_box(region)
    assert (rows, columns) == (slice(0, 32), slice(34, 66))


def test_the_means_are_of_the_cells_inside_and_outside() -> None:
    """Cells of 4×4 px; features are a direction inside, another outside: the cosine is known."""
    region = np.zeros((16, 16), bool)
    region[4:12, 4:12] = True
    cells = torch.zeros(2, 4, 4)
    cells[0] = 1
    cells[:, 1:3, 1:3] = torch.tensor([math.cos(1.1), math.sin(1.1)])[:, None, None] * 7
    assert region_cosine(cells, cells, region) == pytest.approx(math.cos(1.1), abs=1e-6)
    other = torch.zeros(2, 4, 4)
    other[1] = 3
    assert region_cosine(cells, other, region) == pytest.approx(math.sin(1.1), abs=1e-6)


def test_half_a_cell_counts_as_inside_and_less_does_not() -> None:
    cells = torch.ones(2, 2, 2)
    cells[0, 0, 0], cells[1, 0, 0] = 1, -1
    for columns, expected in ((2, 0.0), (1, math.nan)):
        region = np.zeros((8, 8), bool)
        region[:4, :columns] = True
        found = region_cosine(cells, cells, region)
        assert math.isnan(found) if math.isnan(expected) else found == pytest.approx(expected)
    assert math.isnan(region_cosine(cells, cells, np.ones((8, 8), bool)))


@torch.no_grad()
def test_both_are_the_plain_formula_on_the_whole_sam(images: list[RemovedImage], weights: Path) -> None:
    sam = SamModel.from_pretrained(weights / "sam").eval()

    def features(image: np.ndarray) -> np.ndarray:
        large = cv2.resize(image, (128, 128), interpolation=cv2.INTER_LINEAR).astype(float)
        scaled = (large - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
        pixels = torch.from_numpy(scaled.transpose(2, 0, 1)[None]).float()
        return sam.get_image_embeddings(pixels)[0].double().numpy()

    def plain(inside_of: np.ndarray, outside_of: np.ndarray, region: np.ndarray) -> float:
        rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
        side = max(np.ptp(rows), np.ptp(columns)) + 1 + 4
        top = (rows[0] + rows[-1] + 1) // 2 - side // 2
        left = (columns[0] + columns[-1] + 1) // 2 - side // 2
        assert top >= 0
        assert left >= 0
        box = (slice(top, top + side), slice(left, left + side))
        one, other = features(inside_of[box]), features(outside_of[box])
        # Adaptive pooling by its definition: cell i covers floor(i·s/16) to ceil((i+1)·s/16).
        edges = [(i * side // 16, -(-(i + 1) * side // 16)) for i in range(16)]
        inside = np.array([[region[box][a:b, c:d].mean() >= 0.5 for c, d in edges] for a, b in edges])
        means = one[:, inside].mean(1), other[:, ~inside].mean(1)
        return float(means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1]))

    remove, remove_plus = remove_metrics(weights / "sam")
    expected = [plain(p.removal, p.removal, p.mask) for p in images]
    assert remove.measure(images) == pytest.approx(expected, abs=1e-5)
    expected = [plain(p.removal, p.source, p.effect_region) for p in images]
    assert remove_plus.measure(images) == pytest.approx(expected, abs=1e-5)


def test_a_background_painted_over_moves_remove_only(images: list[RemovedImage], weights: Path) -> None:
    """ReMOVE+ looks at the removal inside M_fg alone; what a method does outside cannot help it."""
    one = replace(images[0], effect_region=images[0].mask)
    flat = one.ground_truth.copy()
    flat[~one.mask] = flat[one.mask].mean(axis=0).astype(np.uint8)
    painted = replace(one, removal=flat)
    remove, _ = remove_metrics(weights / "sam")
    assert remove.measure([painted])[0] > remove.measure([one])[0]
    cells = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    region = np.zeros((32, 32), bool)
    region[8:20, 8:20] = True
    repainted = torch.where(
        torch.from_numpy(cv2.resize(region.astype(np.uint8), (8, 8)) > 0), cells, cells * 9
    )
    assert region_cosine(repainted, cells, region) == pytest.approx(region_cosine(cells, cells, region))
