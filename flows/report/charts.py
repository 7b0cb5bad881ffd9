"""The charts of a cycle, each a function from results to one inline SVG."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_specs.cutout import SHADOW_DIRECTIONS
from data_specs.round import DiscriminatorCurves, LossCurve, PhaseResult
from flows.report.svg import Axis, bar, chart, dot, line, polyline, share_grid, spread, text

THRESHOLD = 0.9
"""RORem's rule: the automated phase keeps what is scored above it."""

_BINS = 20


def success_by_phase(phases: Sequence[PhaseResult]) -> str:
    """Success on the test split, a column a phase with its 95% interval; hollow = not promoted."""
    width, height, left = 760.0, 330.0, 48.0
    y = Axis(0, 1, 262, 22)
    slot = (width - left) / max(1, len(phases))
    column = min(64.0, slot * 0.62)
    marks = share_grid(y, left, width)
    for index, phase in enumerate(phases):
        middle = left + slot * (index + 0.5)
        marks += _column(phase, y, middle, column)
        kind, _, number = phase.name.partition(" ")
        marks.append(text((middle, 282), kind, "middle small"))
        marks.append(text((middle, 297), number, "middle small"))
        gained = f"+{phase.kept:,}" if phase.kept else "–"
        marks.append(text((middle, 318), gained, "middle small soft"))
    marks.append(text((0, 318), "kept", "soft small"))
    said = ", ".join(f"{phase.name} {phase.success_rate:.1%}" for phase in phases)
    return chart(width, height, f"Success on the test split by phase: {said}.", marks)


def _column(phase: PhaseResult, y: Axis, middle: float, width: float) -> list[str]:
    top, low, high = y(phase.success_rate), y(phase.success_low), y(phase.success_high)
    classes = phase.kind if phase.promoted else f"{phase.kind} hollow"
    return [
        bar((middle - width / 2, top), width, y(0) - top, classes, f"{phase.name}: {phase.reason}"),
        line((middle, low), (middle, high), "whisker"),
        line((middle - 5, low), (middle + 5, low), "whisker"),
        line((middle - 5, high), (middle + 5, high), "whisker"),
        text((middle, high - 7), f"{phase.success_rate:.1%}", "middle strong"),
    ]


def keep_rate_by_round(phases: Sequence[PhaseResult]) -> str:
    """Kept fraction of candidates by round: the reviewer's beside the discriminator's. Shows drift."""
    rates = {
        kind: [phase.kept / phase.tested for phase in phases if phase.kind == kind and phase.tested]
        for kind in ("human", "automation")
    }
    rounds = max(1, *map(len, rates.values()))
    x = Axis(1, max(2, rounds), 66, 380)
    y = Axis(0, 1, 262, 22)
    marks = share_grid(y, 48, 396)
    marks += [text((x(n), 284), f"round {n}", "middle small soft") for n in range(1, rounds + 1)]
    shown = {kind: keep_rates for kind, keep_rates in rates.items() if keep_rates}
    for kind, keep_rates in shown.items():
        points = [(x(index + 1), y(rate)) for index, rate in enumerate(keep_rates)]
        marks.append(polyline(points, kind))
        marks += [
            dot(at, 4, kind, f"{kind} {index + 1}: {rate:.1%} kept")
            for index, (at, rate) in enumerate(zip(points, keep_rates, strict=True))
        ]
    labels = spread([y(keep_rates[-1]) for keep_rates in shown.values()], gap=34)
    for (kind, keep_rates), at in zip(shown.items(), labels, strict=True):
        end = x(len(keep_rates)) + 12
        marks.append(text((end, at), f"{kind} {keep_rates[-1]:.1%}", f"mark {kind}"))
        if len(keep_rates) > 1:
            change = 100 * (keep_rates[-1] - keep_rates[0])
            marks.append(text((end, at + 16), f"{change:+.1f} points since round 1", "soft small"))
    said = "; ".join(
        f"{kind} {', '.join(f'{s:.1%}' for s in keep_rates)}" for kind, keep_rates in shown.items()
    )
    return chart(560, 300, f"Keep rate by round: {said}.", marks)


def score_histogram(curves: DiscriminatorCurves) -> str:
    """Scores of fresh candidates: truly good ones upwards, bad ones downwards, the 0.9 line between."""
    good, bad = (
        np.histogram(np.asarray(scores, np.float64), bins=_BINS, range=(0, 1))[0]
        for scores in (curves.scores_good, curves.scores_bad)
    )
    x = Axis(0, 1, 48, 544)
    tallest = max(1, int(good.max()), int(bad.max()))
    up, down = Axis(0, tallest, 150, 34), Axis(0, tallest, 150, 266)
    step = x(1 / _BINS) - x(0)
    marks = [line((48, at), (544, at)) for at in (up(tallest), down(tallest))]
    for index, (n_good, n_bad) in enumerate(zip(good, bad, strict=True)):
        start, span = x(index / _BINS) + 1, f"{index / _BINS:.2f}–{(index + 1) / _BINS:.2f}"
        if n_good:
            marks.append(
                bar((start, up(n_good)), step - 2, 150 - up(n_good), "good", f"{n_good} good at {span}")
            )
        if n_bad:
            marks.append(bar((start, 150), step - 2, down(n_bad) - 150, "bad", f"{n_bad} bad at {span}"))
    kept_good = sum(score > THRESHOLD for score in curves.scores_good)
    kept_bad = sum(score > THRESHOLD for score in curves.scores_bad)
    marks += [
        line((48, 150), (544, 150), "whisker"),
        line((x(THRESHOLD), 22), (x(THRESHOLD), 270), "threshold"),
        text(
            (x(THRESHOLD) - 6, 16), f"kept above {THRESHOLD}: {kept_good} good, {kept_bad} bad", "end strong"
        ),
        text((54, 48), f"good ({len(curves.scores_good)})", "mark good"),
        text((54, 262), f"bad ({len(curves.scores_bad)})", "mark bad"),
        text((40, up(tallest) + 4), str(tallest), "soft end small"),
        text((40, down(tallest) + 4), str(tallest), "soft end small"),
    ]
    marks += [text((x(v), 288), f"{v:g}", "middle small soft") for v in (0, 0.25, 0.5, 0.75, 1)]
    said = f"above {THRESHOLD} lie {kept_good} good and {kept_bad} bad candidates"
    return chart(560, 300, f"Scores of discriminator {curves.round}: {said}.", marks)


def reliability_curve(curves: DiscriminatorCurves) -> str:
    """What the discriminator says against what is true, a point a bin; on the diagonal 0.9 means 0.9."""
    x, y = Axis(0, 1, 48, 544), Axis(0, 1, 262, 22)
    bins = [one for one in curves.reliability if one.count]
    most = max((one.count for one in bins), default=1)
    marks = share_grid(y, 48, 544)
    marks += [text((x(v), 284), f"{v:g}", "middle small soft") for v in (0, 0.25, 0.5, 0.75, 1)]
    marks.append(line((x(0), y(0)), (x(1), y(1)), "threshold"))
    if bins:
        marks.append(polyline([(x(one.mean_score), y(one.success_rate)) for one in bins], "human faint"))
    marks += [
        dot(
            (x(one.mean_score), y(one.success_rate)),
            3 + 7 * (one.count / most) ** 0.5,
            "human",
            f"{one.count} scored {one.low:.1f}–{one.high:.1f}: {one.success_rate:.0%} good",
        )
        for one in bins
    ]
    said = "; ".join(f"score {one.mean_score:.2f} is good {one.success_rate:.0%}" for one in bins)
    return chart(560, 300, f"Reliability of discriminator {curves.round}: {said}.", marks)


def loss_curve(curve: LossCurve) -> str:
    """One training's loss: each reading faint, their running mean in full; the axis starts at 0."""
    losses = np.asarray(curve.losses, np.float64)
    smooth = _running_mean(losses, window=max(1, len(losses) // 12))
    # One wild reading must not flatten the rest.
    high = max(float(np.quantile(losses, 0.99)), float(smooth.max()), 1e-9) * 1.05 if len(losses) else 1.0
    last = curve.steps[-1] if curve.steps else 1
    x, y = Axis(0, max(1, last), 44, 264), Axis(0, high, 126, 34)
    marks = [text((0, 14), curve.name, "strong"), line((44, 126), (264, 126)), line((44, 34), (264, 34))]
    if len(losses):
        clipped = np.minimum(losses, high)
        marks.append(
            polyline([(x(s), y(v)) for s, v in zip(curve.steps, clipped, strict=True)], "human faint")
        )
        marks.append(polyline([(x(s), y(v)) for s, v in zip(curve.steps, smooth, strict=True)], "human"))
        marks.append(text((264, 14), f"{smooth[-1]:.3g}", "mark human end"))
    marks += [
        text((38, 38), f"{high:.2g}", "soft end small"),
        text((38, 130), "0", "soft end small"),
        text((264, 144), f"{last:,} steps", "soft end small"),
    ]
    final = f", ending at {smooth[-1]:.3g}" if len(losses) else ""
    return chart(280, 150, f"Loss of {curve.name} over {last:,} steps{final}.", marks)


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value and up to ``window - 1`` before it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (total[ends] - total[starts]) / (ends - starts)


# The charts of a compositing run: where shadows fall, how large objects are, what was refused and why.


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
