"""Calibrate scores: of ten removals with score 0.9, nine must be good."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from data_specs.round import ReliabilityBin


def fit_platt(
    logits: Sequence[float], labels: Sequence[bool], error_rate: float = 0.0
) -> tuple[float, float]:
    """Platt scaling: the slope and offset that maximise the likelihood of held-out labels.

    Targets are smoothed to (n₊+1)/(n₊+2) and 1/(n₋+2), as in Platt (1999). A small or separable set therefore
    does not give certainty. The slope is kept positive, so that calibration cannot reverse the order.

    Where answers err, P(YES) = e + (1 − 2e) · P(good). Without that, nothing scores above 0.9 once every
    tenth answer is wrong.

    Args:
        logits: N uncalibrated logits of reviews that the discriminator was not trained on.
        labels: N answers, True = YES.
        error_rate: e, the fraction of wrong answers, 0 to below 0.5.

    Returns:
        (slope, offset) for P(good) = sigmoid(slope · logit + offset).
    """
    x = torch.tensor(list(logits), dtype=torch.float64)
    good = torch.tensor([bool(label) for label in labels])
    yes, no = int(good.sum()), int((~good).sum())
    target = torch.where(good, (yes + 1) / (yes + 2), 1 / (no + 2)).double()
    log_slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    offset = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_slope, offset], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        says_yes = error_rate + (1 - 2 * error_rate) * torch.sigmoid(log_slope.exp() * x + offset)
        loss = torch.nn.functional.binary_cross_entropy(says_yes, target)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_slope.detach().exp()), float(offset.detach())


def pure_threshold(
    scores: Sequence[float],
    labels: Sequence[bool],
    purity: float,
    confidence: float,
    error_rate: float = 0.0,
) -> float | None:
    """The lowest score above which a set is certified to be pure, by Learn-then-Test (arXiv 2110.01052).

    Thresholds are tested from a strict one on, until one fails ("fixed sequence"), so that all tests together
    err at most as often as one. Each is an exact binomial test of "at most ``purity`` of these are good". The
    first lets a third of the answers through: a stricter one would often fail by a single wrong answer.

    Args:
        scores: N scores of reviewed removals, chosen as those are to which the threshold will be applied.
        labels: N answers, True = YES.
        purity: Wanted fraction of good removals, 0..1.
        confidence: Wanted probability that the kept set is that pure, 0..1.
        error_rate: Fraction of wrong answers, 0 to below 0.5.

    Returns:
        None if no threshold is certified.
    """
    rate = error_rate + (1 - 2 * error_rate) * purity
    order = sorted(zip(scores, labels, strict=True), reverse=True)
    threshold, bad = None, 0
    needed = max(_answers_needed(rate, confidence), len(order) // 3)
    for count, (score, yes) in enumerate(order, start=1):
        bad += not yes
        following = order[count][0] if count < len(order) else 0.0
        if count < needed or following == score:
            continue
        if _at_most(bad, count, 1 - rate) > 1 - confidence:
            break
        threshold = following
    return threshold


def _answers_needed(rate: float, confidence: float) -> int:
    """With fewer answers, not even a set without a NO is certified."""
    return max(1, math.ceil(math.log(1 - confidence) / math.log(rate))) if rate < 1 else 1


def _at_most(bad: int, count: int, rate: float) -> float:
    """The probability of at most ``bad`` of ``count`` draws, each bad at ``rate``."""
    if rate <= 0:
        return 1.0
    logs = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(rate)
        + (count - k) * math.log1p(-rate)
        for k in range(bad + 1)
    )
    return min(1.0, sum(math.exp(log) for log in logs))


def reliability(scores: Sequence[float], labels: Sequence[bool], bins: int = 10) -> list[ReliabilityBin]:
    """Mean score and success rate in equal-width bins. Empty bins are left out."""
    points: list[ReliabilityBin] = []
    values, good = np.asarray(scores, float), np.asarray(labels, bool)
    place = np.minimum((values * bins).astype(int), bins - 1)
    for number in range(bins):
        here = place == number
        if here.any():
            points.append(
                ReliabilityBin(
                    low=number / bins,
                    high=(number + 1) / bins,
                    count=int(here.sum()),
                    mean_score=float(values[here].mean()),
                    success_rate=float(good[here].mean()),
                )
            )
    return points


def calibration_error(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Expected calibration error over ten equal-width bins, 0..1."""
    points = reliability(scores, labels)
    return sum(p.count * abs(p.mean_score - p.success_rate) for p in points) / max(1, len(scores))


def area_under_curve(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Probability that a good removal scores above a bad one (ROC AUC). 0.5 if one kind is missing."""
    good = torch.tensor([bool(label) for label in labels], dtype=torch.long)
    if good.min() == good.max():
        return 0.5
    return float(binary_auroc(torch.tensor([float(score) for score in scores], dtype=torch.float64), good))
