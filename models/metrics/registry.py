"""List the metrics that can be measured here: those without weights always, others if their weights exist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.comparison import MetricLeftOut
from data_specs.errors import InputError
from data_specs.metric import MetricName, MetricSpec
from models.metrics import embedding, lpips, remove
from models.metrics.psnr import Ssim, psnr_metrics
from models.protocols import Metric


class MetricConfig(BaseModel):
    """Where the weights of the metrics lie."""

    model_config = ConfigDict(frozen=True)

    weights: Path | None = Field(
        default=None,
        description="Folder with lpips/, clip/, dino/ and sam/ (safetensors; docs/guides/evaluation.md). "
        "A metric without its folder is left out with a notice.",
    )


@dataclass(frozen=True, slots=True)
class _Family:
    """Metrics that share one folder of weights."""

    folder: str
    holds: str
    """What belongs in the folder, in words for a message."""
    specs: tuple[MetricSpec, ...]
    load: Callable[[Path], Sequence[Metric]]


_FAMILIES = (
    _Family("lpips", lpips.FILE_NAME, (lpips.Lpips.spec,), lambda folder: [lpips.Lpips(folder)]),
    _Family("clip", "a CLIP model", (embedding.CLIP,), lambda folder: [embedding.clip_similarity(folder)]),
    _Family(
        "dino",
        "a DINO or DINOv2 model",
        (embedding.DINO,),
        lambda folder: [embedding.dino_similarity(folder)],
    ),
    _Family("sam", "a SAM model", (remove.REMOVE, remove.REMOVE_PLUS), remove.remove_metrics),
)


def all_specs() -> dict[MetricName, MetricSpec]:
    """All metrics, in the order of tables."""
    free = [metric.spec for metric in (*psnr_metrics(), Ssim())]
    return {spec.name: spec for spec in [*free, *(spec for family in _FAMILIES for spec in family.specs)]}


def available_metrics(config: MetricConfig) -> tuple[list[Metric], list[MetricLeftOut]]:
    """The metrics that can be measured, in the order of tables, and those that cannot, with the reason.

    Raises:
        InputError: If the configured folder of weights does not exist.
        ModelError: If a metric's folder exists but cannot be used.
    """
    if config.weights is not None and not config.weights.is_dir():
        raise InputError(
            config.weights,
            "this folder of metrics' weights does not exist; name another with --metric-weights",
        )
    metrics: list[Metric] = [*psnr_metrics(), Ssim()]
    left_out: list[MetricLeftOut] = []
    for family in _FAMILIES:
        folder = None if config.weights is None else config.weights / family.folder
        if folder is not None and folder.is_dir():
            metrics.extend(family.load(folder))
        else:
            left_out.extend(_left_out(family, spec, folder) for spec in family.specs)
    return metrics, left_out


def _left_out(family: _Family, spec: MetricSpec, folder: Path | None) -> MetricLeftOut:
    if folder is None:
        fix = f"name --metric-weights WEIGHTS, with {family.holds} in WEIGHTS/{family.folder}"
        return MetricLeftOut(title=spec.title, reason="no folder of metrics' weights is named", fix=fix)
    return MetricLeftOut(
        title=spec.title,
        reason=f"{folder} is missing",
        fix=f"put {family.holds} there (docs/guides/evaluation.md)",
    )
