import math
from dataclasses import replace

import numpy as np
import pytest

from data_specs.metric import RemovedImage
from models.metrics.psnr import psnr_metrics


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    error = ((one.astype(float) - other) ** 2).mean()
    return 10 * math.log10(255**2 / error) if error else 60.0


def test_each_region_is_what_its_name_says(images: list[RemovedImage]) -> None:
    whole, inside, background = (metric.measure(images) for metric in psnr_metrics())
    for number, p in enumerate(images):
        assert whole[number] == pytest.approx(decibels(p.removal, p.ground_truth), rel=1e-5)
        for found, where in ((inside, p.effect_region), (background, ~p.effect_region)):
            expected = decibels(p.removal[where], p.ground_truth[where])
            assert found[number] == pytest.approx(expected, rel=1e-5)
    assert whole[0] == inside[0] == background[0] == 60


def test_what_goes_wrong_in_one_region_is_seen_in_that_one_only(images: list[RemovedImage]) -> None:
    left_over = images[0].ground_truth.copy()
    left_over[images[0].effect_region] = 255 - left_over[images[0].effect_region]
    damaged = replace(images[0], removal=left_over)
    _, inside, background = (metric.measure([damaged])[0] for metric in psnr_metrics())
    assert inside < 20
    assert background == 60


def test_an_image_without_background_has_no_background_figure(images: list[RemovedImage]) -> None:
    everything = replace(images[1], effect_region=np.ones_like(images[1].mask))
    whole, inside, background = (metric.measure([everything])[0] for metric in psnr_metrics())
    assert inside == whole
    assert math.isnan(background)
