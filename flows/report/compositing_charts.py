"""The charts of a compositing run: where shadows fall, how large objects are, what was refused and why."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_specs.cutout import SHADOW_DIRECTIONS
from flows.report.svg import bar, chart, line, polyline, text


def shadow_rose(counts: Mapping[str, int]) -> str:
    """Cut-outs by the direction of their shadow, seen from above: up is away from the camera.

    Args:
        counts: By shadow class; ``none`` stands beside the rose.
    """
    middle, radius = (190.0, 170.0), 110.0
    most = max(1, *(counts.get(name, 0) for name in SHADOW_DIRECTIONS))
    marks: list[str] = []
    for number, name in enumerate(SHADOW_DIRECTIONS):
        angle, count = number * np.pi / 4, counts.get(name, 0)
        # A petal's area, not its length, is what the eye compares.
        marks.append(polyline(_petal(middle, angle, radius * float(np.sqrt(count / most))), "human"))
        marks.append(line(middle, _point(middle, angle, radius)))
        at = _point(middle, angle, radius + 22)
        marks.append(text((at[0], at[1] + 4), f"{count:,}", "middle strong"))
        if number % 2 == 0:
            words = {"away": "away from the camera", "towards": "towards it"}.get(name, name)
            beyond = _point(middle, angle, radius + (40 if number in (0, 4) else 56))
            marks.append(text((beyond[0], beyond[1] + 4), words, "middle soft small"))
    none = counts.get("none", 0)
    marks.append(text((400, 174), f"{none:,} without a shadow", "soft"))
    said = ", ".join(f"{name} {counts.get(name, 0)}" for name in (*SHADOW_DIRECTIONS, "none"))
    return chart(560, 350, f"Cut-outs by shadow direction: {said}.", marks)


def count_bars(heading: str, counts: Mapping[str, int], order: Sequence[str]) -> str:
    """Counts of some classes, a horizontal bar each, in the order given."""
    most = max(1, *(counts.get(name, 0) for name in order))
    left, right, step = 190.0, 480.0, 26.0
    marks: list[str] = []
    for row, name in enumerate(order):
        count, top = counts.get(name, 0), 8 + row * step
        width = (right - left) * count / most
        marks.append(text((left - 10, top + 14), name, "end small"))
        marks.append(bar((left, top), width, step - 8, "human", f"{name}: {count:,}"))
        marks.append(text((left + width + 8, top + 14), f"{count:,}", "small strong"))
    said = ", ".join(f"{name} {counts.get(name, 0)}" for name in order)
    return chart(560, 16 + step * len(order), f"{heading}: {said}.", marks)


def _petal(middle: tuple[float, float], angle: float, length: float) -> list[tuple[float, float]]:
    """A sector of 45° about an angle, as a closed line."""
    turns = np.linspace(angle - np.pi / 8, angle + np.pi / 8, 12)
    return [middle, *(_point(middle, float(turn), length) for turn in turns), middle]


def _point(middle: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    """Up is 0, clockwise."""
    return middle[0] + length * float(np.sin(angle)), middle[1] - length * float(np.cos(angle))
