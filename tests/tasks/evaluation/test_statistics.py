import math

import numpy as np
import pytest

from data_specs.comparison import ImageResult
from tasks.evaluation.statistics import Measurement, method_difference, method_result, worst_median_best


def rows_of(method: str, values: list[float]) -> list[ImageResult]:
    return [
        ImageResult(
            f"k{number:03d}", "scene", "made", method, {"psnr_fg": value, "ssim": 0.5}, value > 15, 0.5
        )
        for number, value in enumerate(values)
    ]


def measurement(method: str) -> Measurement:
    return Measurement(
        method=method, model_hash="h", measured_on="made", dataset_version=None, split=None,
        metrics={"psnr_fg": "f", "ssim": "s", "psnr_bg": "none"}, effect_levels=6, rejects={},
    )  # fmt: skip


def test_undefined_images_are_in_no_mean() -> None:
    rows = rows_of("telea", [10, 20, math.nan, 60])
    only = {"psnr_fg": "f"}
    found = method_result(measurement("telea").model_copy(update={"metrics": only}), rows, seed=0)
    assert found.images == 4
    assert found.means["psnr_fg"].mean == pytest.approx(30)
    assert found.means["psnr_fg"].images == 3
    assert (found.success_rate, found.seconds_per_image) == (0.5, 0.5)
    nothing = rows_of("telea", [math.nan])
    assert method_result(measurement("telea").model_copy(update={"metrics": only}), nothing, 0).means == {}


def test_differences_are_image_by_image_whatever_the_order() -> None:
    """Hard images spread both methods widely; their difference is 1 dB, with noise of 0.1."""
    chance = np.random.default_rng(0)
    hardness = chance.uniform(15, 45, 60)
    better = rows_of("new", (hardness + 1 + chance.normal(0, 0.1, 60)).tolist())
    plain = rows_of("telea", hardness.tolist())
    found = method_difference(better, plain[::-1], seed=0)
    gap = found.differences["psnr_fg"]
    assert (found.method, found.baseline) == ("new", "telea")
    assert gap.mean == pytest.approx(1, abs=0.05)
    assert gap.high - gap.low < 0.1
    assert found.differences["ssim"].mean == found.differences["ssim"].high == 0


def test_a_pair_counts_where_both_are_defined() -> None:
    found = method_difference(rows_of("a", [10, math.nan, 30]), rows_of("b", [9, 5, math.nan]), seed=0)
    assert found.differences["psnr_fg"].images == 1
    assert found.differences["psnr_fg"].mean == 1


def test_worst_median_and_best_are_the_ranks_they_are_called() -> None:
    values = [float(value) for value in np.random.default_rng(2).permutation(21)]
    parts = worst_median_best(rows_of("telea", [*values, math.nan]), "psnr_fg", 3)
    shown = {part: [row.values["psnr_fg"] for row in found] for part, found in parts.items()}
    assert shown == {"worst": [0, 1, 2], "median": [9, 10, 11], "best": [18, 19, 20]}


@pytest.mark.parametrize(("count", "sizes"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (7, (2, 2, 2))])
def test_few_images_are_shown_once_each(count: int, sizes: tuple[int, ...]) -> None:
    parts = worst_median_best(rows_of("telea", [float(n) for n in range(count)]), "psnr_fg", 5)
    keys = [row.key for found in parts.values() for row in found]
    assert tuple(len(found) for found in parts.values()) == sizes
    assert len(set(keys)) == len(keys)
