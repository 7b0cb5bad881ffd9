"""The rose and the bars, read back from the SVG as geometry."""

import re

import numpy as np
import pytest

from data_specs.cutout import SHADOW_DIRECTIONS
from flows.report.charts import count_bars, shadow_rose


def petals(svg: str) -> list[np.ndarray]:
    """N×2 points of each petal."""
    paths = re.findall(r'<path d="M([^"]+)" class="mark human"/>', svg)
    return [np.array([[float(n) for n in p.split()] for p in path.split(" L")]) for path in paths]


def area(points: np.ndarray) -> float:
    x, y = points.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def test_a_petals_area_is_its_count_and_it_points_where_the_shadow_falls() -> None:
    counts = {"away": 40, "right": 20, "towards-left": 10, "none": 3}
    svg = shadow_rose(counts)
    drawn = petals(svg)
    assert len(drawn) == 8
    areas = {name: area(points) for name, points in zip(SHADOW_DIRECTIONS, drawn, strict=True)}
    assert areas["right"] / areas["away"] == pytest.approx(0.5, rel=0.01)
    assert areas["towards-left"] / areas["away"] == pytest.approx(0.25, rel=0.02)
    assert areas["left"] == 0
    points = dict(zip(SHADOW_DIRECTIONS, drawn, strict=True))
    middle = points["away"][0]
    away, right, left = (points[name].mean(axis=0) - middle for name in ("away", "right", "towards-left"))
    assert away[1] < -20
    assert abs(away[0]) < 1
    assert right[0] > 20
    assert left[0] < -5
    assert left[1] > 5
    assert "3 without a shadow" in svg
    assert "away 40" in svg


def test_nothing_cut_out_is_an_empty_rose() -> None:
    assert all(area(points) == 0 for points in petals(shadow_rose({})))


def test_bars_are_as_long_as_their_counts_and_in_order() -> None:
    svg = count_bars("sizes", {"small": 10, "large": 40}, ("small", "medium", "large"))
    widths = [float(w) for w in re.findall(r'<rect x="[^"]+" y="[^"]+" width="([^"]+)"', svg)]
    assert widths == pytest.approx([widths[2] / 4, 0, widths[2]])
    assert svg.index("small") < svg.index("medium") < svg.index("large")
