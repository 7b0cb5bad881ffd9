"""Calibrate scores: of ten removals with score 0.9, nine must be good."""

from collections.abc import Sequence

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from data_specs.round import ReliabilityBin


def fit_platt(logits: Sequence[float], labels: Sequence[bool]) -> tuple[float, float]:
    """Platt scaling: the slope and offset that maximise the likelihood of held-out labels.

    Targets are smoothed to (n₊+1)/(n₊+2) and 1/(n₋+2), as in Platt (1999). A small or separable set therefore
    does not give certainty. The slope is kept positive, so that calibration cannot reverse the order.

    Args:
        logits: N uncalibrated logits of reviews that the discriminator was not trained on.
        labels: N answers, True = YES.

    Returns:
        (slope, offset) for probability = sigmoid(slope · logit + offset).
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
        loss = torch.nn.functional.binary_cross_entropy_with_logits(log_slope.exp() * x + offset, target)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_slope.detach().exp()), float(offset.detach())


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
