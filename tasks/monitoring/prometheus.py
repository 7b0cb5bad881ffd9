"""Export what the ledger knows as metrics for Prometheus and tools that read its formats."""

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from data_specs.model_record import ModelKind
from data_specs.round import EndedPhase, PhaseResult
from tasks.storage.atomic_files import write_durably
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

_CHAMPIONS: tuple[ModelKind, ...] = ("remover", "discriminator")


def open_metrics(workspace: Workspace) -> str:
    """All metrics as OpenMetrics 1.0 text, read from the ledger now."""
    return openmetrics.generate_latest(_registry(workspace)).decode()


def write_textfile(workspace: Workspace, path: Path) -> None:
    """Write all metrics in Prometheus' older text format, for node exporter's textfile collector.

    Raises:
        OSError: If the file cannot be written. The old file is then unchanged.
    """
    write_durably(path, exposition.generate_latest(_registry(workspace)))


class _LedgerCollector(Collector):
    """Prometheus' client asks it for the metrics each time it writes them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        for part in _PARTS:
            yield from part(self._ledger)


def _registry(workspace: Workspace) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_LedgerCollector(workspace.ledger()))
    return registry


def _shards(ledger: Ledger) -> Iterator[Metric]:
    shards = _counter("shards", "Shards in the ledger.", "stage")
    samples = _counter("samples", "Samples in the shards.", "stage")
    size = _counter("shard_bytes", "Bytes of the shards' tars.", "stage", unit="bytes")
    for stage, count in ledger.counts.shards().items():
        shards.add_metric([stage], count.shards)
        samples.add_metric([stage], count.samples)
        size.add_metric([stage], count.size_bytes)
    yield from (shards, samples, size)


def _rejects(ledger: Ledger) -> Iterator[Metric]:
    rejects = _counter("rejects", "Samples refused.", "reason")
    for reason, count in ledger.rejects.counts().items():
        rejects.add_metric([reason], count)
    yield rejects


def _judgement(ledger: Ledger) -> Iterator[Metric]:
    reviews = _gauge("reviews", "Answers that stand.", "reviewer", "decision")
    for (kind, decision), count in ledger.counts.reviews().items():
        reviews.add_metric([kind, decision], count)
    scores = _counter("scores", "Candidates scored.", "discriminator")
    mean = _gauge("score_mean", "Mean of a discriminator's scores, 0 to 1.", "discriminator")
    for discriminator, count in ledger.counts.scores().items():
        scores.add_metric([discriminator], count.count)
        mean.add_metric([discriminator], count.mean)
    yield from (reviews, scores, mean)


def _phases(ledger: Ledger) -> Iterator[Metric]:
    """The metrics of phases. A phase of several runs is shown as it ended last."""
    facts: dict[str, tuple[str, Callable[[PhaseResult], float | None]]] = {
        "phase_tested": ("Pool items that a phase tested.", lambda phase: phase.tested),
        "phase_kept": ("Tested items that joined the training set.", lambda phase: phase.kept),
        "phase_keep_ratio": ("Kept of tested.", _keep_ratio),
        "phase_success_ratio": (
            "Success rate on the test split after the phase.",
            lambda phase: phase.success_rate,
        ),
        "phase_duration_seconds": ("Seconds of the phase.", lambda phase: phase.seconds),
    }
    results = {phase.result.name: phase.result for phase in ledger.results.all("phase", EndedPhase)}
    for name, (help_line, fact) in facts.items():
        gauge = _gauge(name, help_line, "phase", "kind")
        for phase in results.values():
            value = fact(phase)
            if value is not None:
                gauge.add_metric([phase.name, phase.kind], value)
        yield gauge


def _keep_ratio(phase: PhaseResult) -> float | None:
    return phase.kept / phase.tested if phase.tested else None


def _dataset(ledger: Ledger) -> Iterator[Metric]:
    versions = _counter("dataset_versions", "Versions ever made.")
    versions.add_metric([], ledger.versions.count())
    number = _gauge("dataset_current_version", "Number of the current version.")
    samples = _gauge("dataset_samples", "Samples of the current version.", "split")
    current = ledger.versions.current()
    if current is not None:
        number.add_metric([], current.number)
        for split, count in current.by_split.items():
            samples.add_metric([split], count)
    yield from (versions, number, samples)


def _models(ledger: Ledger) -> Iterator[Metric]:
    models = _counter("models", "Models trained.", "kind")
    for kind, count in ledger.counts.models().items():
        models.add_metric([kind], count)
    champion = InfoMetricFamily("cleanplate_champion", "The champion.", labels=["kind"])
    for kind in _CHAMPIONS:
        record = ledger.models.champion(kind)
        if record is not None:
            champion.add_metric([kind], {"hash": record.hash})
    yield from (models, champion)


def _seconds(ledger: Ledger) -> Iterator[Metric]:
    pieces = _counter("work", "Pieces of work done, such as a shard or a training.", "what")
    seconds = _counter("work_seconds", "Seconds they took.", "what", "clock", unit="seconds")
    for what, (count, total) in ledger.costs.by_kind().items():
        pieces.add_metric([what], count)
        for clock, value in total.model_dump().items():
            seconds.add_metric([what, clock], value)
    yield from (pieces, seconds)


def _database(ledger: Ledger) -> Iterator[Metric]:
    size = _gauge("ledger_bytes", "Bytes of the ledger's database.")
    size.add_metric([], ledger.counts.database_bytes())
    yield size


_PARTS = (_database, _shards, _rejects, _judgement, _phases, _dataset, _models, _seconds)


def _counter(name: str, help_line: str, *labels: str, unit: str = "") -> CounterMetricFamily:
    return CounterMetricFamily(f"cleanplate_{name}", help_line, labels=labels, unit=unit)


def _gauge(name: str, help_line: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cleanplate_{name}", help_line, labels=labels)
