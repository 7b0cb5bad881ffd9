"""Counts by the database, SQLite's and PostgreSQL's alike, against rows written by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from data_specs.model_record import ModelRecord
from data_specs.round import EndedPhase, PhaseResult
from data_specs.seconds import Seconds
from data_specs.shard import Purpose, SampleRow, ShardRef
from tasks.storage.ledger import Ledger

NOW = datetime.now(UTC)


def add_shard(ledger: Ledger, purpose: Purpose, keys: list[str]) -> None:
    name = f"001-candidates-00000-{purpose}"
    ref = ShardRef(
        name=name, stage="candidates", round=1, index=0, purpose=purpose, samples=len(keys),
        size_bytes=3_000_000_000, sha256=name, index_sha256="b", input_digest=name,
    )  # fmt: skip
    ledger.shards.commit(ref, [SampleRow(key, "scene", "train", n) for n, key in enumerate(keys)])


def phase(name: str) -> EndedPhase:
    result = PhaseResult(
        name=name, kind="human", tested=8, kept=2, total=40, success_rate=0.5, success_low=0.4,
        success_high=0.6, psnr_effect=20, psnr_background=30, promoted=True, reason="better", seconds=1,
    )  # fmt: skip
    return EndedPhase(result=result)


def test_shards_and_scores_are_summed(ledger: Ledger) -> None:
    add_shard(ledger, "human", ["a", "b"])
    add_shard(ledger, "automation", ["c", "d", "e"])
    count = ledger.counts.shards()["candidates"]
    assert (count.shards, count.samples, count.size_bytes) == (2, 5, 6_000_000_000)
    assert ledger.counts.shards(until=NOW - timedelta(hours=1)) == {}
    for discriminator, hours, scores in (("new", 1, {"c": 0.2, "d": 0.6}), ("old", 2, {"c": 0.9, "a": 0.9})):
        ledger.models.record(
            ModelRecord(
                hash=discriminator,
                kind="discriminator",
                path=discriminator,
                parent=None,
                dataset_version=None,
                metrics={},
                created_at=NOW - timedelta(hours=hours),
            )  # fmt: skip
        )
        ledger.scores.record(discriminator, scores)
    newest = ledger.counts.newest_scores(1, "automation")
    assert newest is not None
    assert (newest.count, newest.mean, newest.deviation) == pytest.approx((2, 0.4, 0.2))
    assert ledger.counts.newest_scores(1, "calibration") is None
    assert ledger.counts.newest_scores(2, "automation") is None
    assert ledger.counts.scores()["old"].count == 2


def test_results_of_a_period(ledger: Ledger) -> None:
    for name in ("human 1", "automation 12", "base model"):
        ledger.results.record("phase", name, phase(name), run="run")
    ended = [each.result.name for each in ledger.results.all("phase", EndedPhase, since=NOW)]
    assert ended == ["human 1", "automation 12", "base model"]
    assert ledger.results.all("phase", EndedPhase, until=NOW) == []
    assert ledger.results.all("phase", EndedPhase, since=NOW + timedelta(hours=1)) == []


def test_seconds_told_twice_count_once(ledger: Ledger) -> None:
    ledger.costs.record("w1", "propose", Seconds(wall=2, cpu=3, gpu=0))
    ledger.costs.record("w1", "propose", Seconds(wall=9, cpu=9, gpu=9))
    ledger.costs.record("w2", "propose", Seconds(wall=4, cpu=1, gpu=4))
    assert ledger.costs.by_kind() == {"propose": (2, Seconds(wall=6, cpu=4, gpu=4))}
    assert ledger.costs.by_kind(until=NOW - timedelta(hours=1)) == {}


def test_the_size_of_the_database_grows_with_its_rows(ledger: Ledger) -> None:
    before = ledger.counts.database_bytes()
    ledger.scores.record("judge", {f"candidate {n}": 0.5 for n in range(20_000)})
    grown = ledger.counts.database_bytes() - before
    assert 20_000 * 20 < grown < 20_000 * 500, "bytes of a row"
