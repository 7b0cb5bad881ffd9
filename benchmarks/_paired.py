"""Compare two arms of an experiment on the same scenes, over several seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import Any


def paired(ours: Sequence[Sequence[bool]], others: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """How far ours lead the others, paired by scene: ``lead``, the mean over the seeds, and its ``error``.

    Args:
        ours: Success by seed and scene.
        others: The same seeds and scenes.
    """
    leads, variances, won, lost = [], [], 0, 0
    for one, other in zip(ours, others, strict=True):
        differences = [int(good) - int(also) for good, also in zip(one, other, strict=True)]
        won, lost = won + differences.count(1), lost + differences.count(-1)
        leads.append(statistics.mean(differences))
        variances.append(statistics.variance(differences) / len(differences))
    error = math.sqrt(sum(variances)) / len(leads)
    return {"lead": statistics.mean(leads), "error": error, "won": won, "lost": lost, "by_seed": leads}
