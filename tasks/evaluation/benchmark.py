"""Measure one method on every image of a test set, one row for each image (papers.md, facts 9 and 21)."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from prefect import task
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from data_specs.assessment import QualityConfig
from data_specs.comparison import ImageResult, MetricLeftOut
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.metric import RemovedImage
from data_specs.model_record import ModelRecord
from data_specs.reject import Reject
from data_specs.triplet import Triplet
from models.metrics.registry import MetricConfig, available_metrics
from models.protocols import Metric, RemovalModel
from tasks.evaluation.evaluate import removals_of
from tasks.evaluation.statistics import Measurement, results_bytes
from tasks.evaluation.success import assess, changed_region
from tasks.evaluation.test_set import EvaluationSet, VersionSet, read_set, set_digest, set_words
from tasks.registry.removers import is_remover_folder_or_name, open_champion, open_recorded, open_remover
from tasks.storage.atomic_files import sweep_asides, write_durably
from tasks.storage.workspace import Workspace

CHAMPION = "champion"
"""The method name for a workspace's own champion."""
_BATCH = 32
"""Images removed and measured at once. A method's noise depends on it, so users cannot change it."""
_CODE_VERSION = 2
"""Raise it when the same work gives other numbers than before."""


class MeasureWork(BaseModel):
    """The part of an evaluation that one method does."""

    model_config = ConfigDict(frozen=True)

    method: str
    """A name that ``method_remover`` knows."""
    images: EvaluationSet
    """The images, pinned to a version or a path."""
    profile: str | None = None
    """The profile whose sampling the network uses. None: its own."""
    metrics: MetricConfig
    quality: QualityConfig


def measure(work: MeasureWork, out: Path, progress: Callable[[int], None] = lambda _: None) -> Path:
    """Remove from every image and measure. Nothing is measured twice.

    Args:
        work: What to measure.
        out: The folder. Its ``measured/`` keeps one file for each method.
        progress: Called with the number of finished images.

    Returns:
        The method's results file. Its name follows from everything that its numbers depend on.

    Raises:
        FlowError: If the set has no image.
        InputError: If there is no such method.
        ModelError: If weights cannot be used.
    """
    remover = method_remover(work.method, work.images, work.profile)
    metrics, _ = loaded_metrics(work.metrics.weights)
    stated = [work.quality.model_dump_json(), *(f"{m.spec.name} {m.fingerprint}" for m in metrics)]
    digest = derive_key(
        "measure", _CODE_VERSION, work.method, remover.model_hash, set_digest(work.images), *stated
    )
    name = re.sub(r"[^a-z0-9]+", "-", method_label(work.method).lower()).strip("-")
    path = out / "measured" / f"{name}-{digest}.parquet"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_asides(path.parent)
    rejects: Counter[str] = Counter()
    triplets = _without_rejects(read_set(work.images), rejects)
    rows: list[ImageResult] = []
    for batch in measured_batches(work.method, remover, triplets, metrics, work.quality):
        rows += batch
        progress(len(rows))
    measurement = _measurement(work, remover, metrics, rejects)
    write_durably(path, results_bytes([measurement], rows))
    return path


def method_label(method: str) -> str:
    """The name of a method in tables. For a folder, its last part."""
    return Path(method).name


def method_remover(method: str, images: EvaluationSet, profile: str | None) -> RemovalModel:
    """The remover of a method, as `cleanplate remove` opens it.

    Args:
        method: ``champion``, a model's hash, or a name or folder for
            ``tasks.registry.removers.open_remover``.
        images: The test set. It must be a workspace's for the champion or a model of that workspace.
        profile: The profile whose sampling the network uses. None: its own.

    Raises:
        InputError: If there is no such method, or no workspace with a champion.
        ModelError: If its weights cannot be used.
    """
    if method == CHAMPION:
        if not isinstance(images, VersionSet):
            raise InputError(CHAMPION, "a folder of triplets has no champion; name the folder of a model")
        return open_champion(images.workspace, steps=None, profile=profile).remover
    if is_remover_folder_or_name(method) or not isinstance(images, VersionSet):
        return open_remover(method, steps=None, profile=profile).remover
    return open_recorded(images.workspace, method, steps=None, profile=profile).remover


def recorded_model(method: str, images: EvaluationSet) -> ModelRecord | None:
    """The workspace's model of a method. None for shipped models and folders."""
    if not isinstance(images, VersionSet):
        return None
    ledger = Workspace(images.workspace).ledger()
    if method == CHAMPION:
        return ledger.models.champion("remover")
    return None if is_remover_folder_or_name(method) else ledger.models.named(method)


@lru_cache(maxsize=1)
def loaded_metrics(weights: Path | None) -> tuple[list[Metric], list[MetricLeftOut]]:
    """``available_metrics``, loaded once for each process. The weights can be gigabytes."""
    return available_metrics(MetricConfig(weights=weights))


def measured_batches(
    method: str,
    remover: RemovalModel,
    triplets: Iterable[Triplet],
    metrics: Sequence[Metric],
    quality: QualityConfig,
) -> Iterator[list[ImageResult]]:
    """The rows of some images at a time, in the triplets' order."""
    for batch in same_size_batches(triplets):
        began = time.perf_counter()
        removals = removals_of(remover, batch)
        seconds = (time.perf_counter() - began) / len(batch)
        images = [
            RemovedImage(
                source=t.source,
                mask=t.mask,
                effect_region=changed_region(t.source, t.mask, t.ground_truth, quality),
                ground_truth=t.ground_truth,
                removal=removal,
            )
            for t, removal in zip(batch, removals, strict=True)
        ]
        columns = {metric.spec.name: metric.measure(images) for metric in metrics}
        yield [
            ImageResult(
                key=triplet.key,
                scene=triplet.scene,
                origin=triplet.origin,
                method=method_label(method),
                values={metric.spec.name: columns[metric.spec.name][place] for metric in metrics},
                success=assess(
                    removals[place], triplet.source, triplet.mask, triplet.ground_truth, quality
                ).success,
                seconds=seconds,
            )
            for place, triplet in enumerate(batch)
        ]


def same_size_batches(triplets: Iterable[Triplet]) -> Iterator[list[Triplet]]:
    """Up to 32 triplets at a time, in order. An image of another size starts a new batch."""
    batch: list[Triplet] = []
    for triplet in triplets:
        if batch and (len(batch) == _BATCH or triplet.source.shape != batch[0].source.shape):
            yield batch
            batch = []
        batch.append(triplet)
    if batch:
        yield batch


def _without_rejects(records: Iterable[Triplet | Reject], rejects: Counter[str]) -> Iterator[Triplet]:
    """The triplets. Rejects are counted by reason."""
    for record in records:
        if isinstance(record, Reject):
            rejects[record.reason.value] += 1
        else:
            yield record


def _measurement(
    work: MeasureWork, remover: RemovalModel, metrics: Sequence[Metric], rejects: Counter[str]
) -> Measurement:
    version = work.images if isinstance(work.images, VersionSet) else None
    return Measurement(
        method=method_label(work.method),
        model_hash=remover.model_hash,
        measured_on=set_words(work.images),
        dataset_version=version.version if version else None,
        split=version.split if version else None,
        metrics={metric.spec.name: metric.fingerprint for metric in metrics},
        effect_levels=work.quality.effect_levels,
        rejects=dict(rejects.most_common()),
    )


@task(task_run_name="measure {work.method}")
def measure_method(work: MeasureWork, out: Path) -> Path:
    """Make one method's results file, unless it exists."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}: {task.completed} images"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(f"measure {work.method}", total=None)
        return measure(work, out, lambda done: bars.update(bar, completed=done))
