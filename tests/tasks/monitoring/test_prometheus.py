"""The metrics' text, read back by Prometheus' own parsers and held against rows written by hand."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from data_specs.model_record import ModelKind, ModelRecord
from data_specs.reject import Reject, RejectReason
from data_specs.review import Decision, Review
from data_specs.round import EndedPhase, PhaseResult
from data_specs.seconds import Seconds
from data_specs.shard import SampleRow, ShardRef
from data_specs.version import DatasetVersion
from tasks.monitoring.prometheus import open_metrics, write_textfile
from tasks.storage.workspace import Workspace
from tests.facts import Facts

NOW = datetime(2026, 11, 26, 6, 0, tzinfo=UTC)


def shard(stage, index: int, samples: int) -> ShardRef:
    name = f"001-{stage}-{index:05d}-x"
    return ShardRef(
        name=name, stage=stage, round=1, index=index, samples=samples, size_bytes=1000 * samples,
        sha256=name, index_sha256="b", input_digest=name,
    )  # fmt: skip


def phase(name: str, kind, tested: int, kept: int) -> EndedPhase:
    result = PhaseResult(
        name=name, kind=kind, tested=tested, kept=kept, total=40, success_rate=0.625, success_low=0.5,
        success_high=0.75, psnr_effect=20, psnr_background=30, promoted=True, reason="better", seconds=61.5,
    )  # fmt: skip
    return EndedPhase(result=result)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A ledger with a few rows of everything."""
    space = Workspace.open(tmp_path / "workspace")
    ledger = space.ledger()
    for index, count in enumerate((3, 4)):
        rows = [SampleRow(f"c{index}{place}", "scene", "train", place) for place in range(count)]
        ledger.shards.commit(shard("candidates", index, count), rows)
    ledger.shards.commit(shard("grown", 0, 2), [SampleRow(f"g{p}", "scene", "train", p) for p in range(2)])
    refused = [Reject(source="clip", name=f"frame {n}", reason=RejectReason.NO_CHANGE) for n in range(5)]
    ledger.rejects.record([*refused, Reject(source="folder", name='a"b\\c', reason=RejectReason.TRUNCATED)])
    answers: list[tuple[str, Decision]] = [("c00", "yes"), ("c01", "no"), ("c02", "no"), ("c10", "skip")]
    ledger.reviews.record(
        [
            Review(event=f"e{c}", candidate=c, decision=d, reviewer="ana", kind="person", answered_at=NOW)
            for c, d in answers
        ]
    )
    ledger.scores.record("judge1", {"c00": 0.95, "c01": 0.25, "c02": 0.3})
    trained: list[tuple[ModelKind, str]] = [("remover", "r1"), ("remover", "r2"), ("discriminator", "judge1")]
    for kind, hash in trained:
        ledger.models.record(
            ModelRecord(
                hash=hash, kind=kind, path=hash, parent=None, dataset_version=None, metrics={}, created_at=NOW
            )
        )
    ledger.models.promote("remover", "r2", "better")
    version = DatasetVersion(
        number=1, parents=(), samples=9, shards=3, by_split={"train": 7, "test": 2}, by_stage={"grown": 9},
        parquet="a.parquet", sha256="a", note="first", created_at=NOW,
    )  # fmt: skip
    ledger.versions.record(version)
    ledger.versions.set_current(1, "first")
    ledger.results.record("phase_start", "human 1", Facts({"version": 1}), run="run")
    ledger.results.record("phase", "human 1", phase("human 1", "human", 8, 2), run="run")
    ledger.results.record("phase", "base model", phase("base model", "base", 0, 0), run="run")
    ledger.results.record("discriminator", "judge 1", Facts({"trained": {}}), run="run")
    ledger.costs.record("w1", "propose", Seconds(wall=2, cpu=3, gpu=0))
    ledger.costs.record("w1", "propose", Seconds(wall=50, cpu=50, gpu=50))
    ledger.costs.record("w2", "propose", Seconds(wall=4, cpu=1, gpu=4))
    return space


EXPECTED = {
    ("cleanplate_shards_total", "candidates"): 2,
    ("cleanplate_shards_total", "grown"): 1,
    ("cleanplate_samples_total", "candidates"): 7,
    ("cleanplate_shard_bytes_total", "candidates"): 7000,
    ("cleanplate_rejects_total", RejectReason.NO_CHANGE.value): 5,
    ("cleanplate_reviews", "no", "person"): 2,
    ("cleanplate_reviews", "skip", "person"): 1,
    ("cleanplate_scores_total", "judge1"): 3,
    ("cleanplate_score_mean", "judge1"): 0.5,
    ("cleanplate_phase_keep_ratio", "human", "human 1"): 0.25,
    ("cleanplate_phase_success_ratio", "base", "base model"): 0.625,
    ("cleanplate_phase_duration_seconds", "human", "human 1"): 61.5,
    ("cleanplate_dataset_current_version",): 1,
    ("cleanplate_dataset_samples", "train"): 7,
    ("cleanplate_models_total", "remover"): 2,
    ("cleanplate_champion_info", "r2", "remover"): 1,
    ("cleanplate_work_total", "propose"): 2,
    ("cleanplate_work_seconds_total", "cpu", "propose"): 4,
    ("cleanplate_work_seconds_total", "gpu", "propose"): 4,
}
"""Name and the labels' values, the labels by name."""


def read(families) -> dict[tuple[str, ...], float]:
    samples = [sample for family in families for sample in family.samples]
    found = {(s.name, *(value for _, value in sorted(s.labels.items()))): s.value for s in samples}
    assert len(found) == len(samples), "no series twice"
    return found


def test_openmetrics_text_is_read_as_what_the_ledger_holds(workspace: Workspace) -> None:
    text = open_metrics(workspace)
    assert text.endswith("# EOF\n")
    families = list(parse_openmetrics(text))
    found = read(families)
    assert {key: found.get(key) for key in EXPECTED} == pytest.approx(EXPECTED)
    ledger = workspace.root / "ledger.sqlite"
    assert found["cleanplate_ledger_bytes",] == ledger.stat().st_size
    kinds = {family.name: family.type for family in families}
    assert kinds["cleanplate_rejects"] == "counter"
    assert kinds["cleanplate_score_mean"] == "gauge"
    assert ("cleanplate_phase_keep_ratio", "base", "base model") not in found, "nothing was tested"
    assert not [key for key in found if "start" in key or "judge 1" in key], "no phases, these"


def test_the_textfile_is_read_by_the_older_parser_and_replaced_whole(workspace: Workspace) -> None:
    path = workspace.root / "cleanplate.prom"
    path.write_text("old\n" * 10_000)
    write_textfile(workspace, path)
    text = path.read_text()
    found = read(parse_prometheus(text))

    assert {key: found.get(key) for key in EXPECTED} == pytest.approx(EXPECTED)
    assert "# TYPE cleanplate_shards_total counter" in text
    assert "# EOF" not in text
    assert [each.name for each in workspace.root.glob("*.prom*")] == ["cleanplate.prom"]


def test_an_empty_ledger_is_no_fault(tmp_path: Path) -> None:
    found = read(parse_openmetrics(open_metrics(Workspace.open(tmp_path / "new"))))
    assert found.pop(("cleanplate_ledger_bytes",)) > 4096
    assert found == {("cleanplate_dataset_versions_total",): 0}
