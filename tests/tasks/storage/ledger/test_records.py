"""Draws, scores, phases, rejects and shards: whatever is told twice counts once."""

import multiprocessing
from typing import Any

import pytest

from data_specs.errors import LedgerError
from data_specs.reject import Reject, RejectReason
from data_specs.result import ResultKind
from data_specs.shard import SampleRow, ShardRef
from tasks.storage.ledger import Ledger, open_ledger
from tasks.storage.ledger.shards import place_of
from tests.facts import Facts

REJECTS = [
    Reject(source="folder", name="a.jpg", reason=RejectReason.TRUNCATED, detail="ends at byte 90"),
    Reject(source="folder", name="b.jpg", reason=RejectReason.TRUNCATED),
    Reject(source="clip", name="frame 7", reason=RejectReason.NO_CHANGE),
]


def shard(index: int, *, digest: str | None = None, sha256: str = "aa", round: int = 0) -> ShardRef:
    return ShardRef(
        name=f"{round:03d}-pool-{index:05d}-x",
        stage="pool",
        round=round,
        index=index,
        samples=2,
        size_bytes=10_240,
        sha256=sha256,
        index_sha256="bb",
        input_digest=digest or f"work {round}/{index}",
    )


ROWS = [SampleRow("k0", "scene", "train", 0), SampleRow("k1", "scene", "train", 1)]


def test_nothing_drawn_once_is_drawn_again(ledger: Ledger) -> None:
    ledger.draws.draw("human 1", "human", ["c", "a", "b"])
    ledger.draws.draw("human 1", "human", ["c", "a", "b"])
    ledger.draws.draw("human 1", "human", ["b", "d"])
    assert ledger.draws.drawn("human 1") == ["c", "a", "b", "d"]
    with pytest.raises(LedgerError, match="a, for example, was drawn by human 1"):
        ledger.draws.draw("automation 1", "automation", ["e", "a"])
    assert ledger.draws.drawn("automation 1") == []
    assert ledger.draws.undrawn(["e", "a", "f", "d"]) == ["e", "f"]


def test_draws_longer_than_a_statement(ledger: Ledger) -> None:
    keys = [f"item{number}" for number in range(12_000)]
    ledger.draws.draw("human 1", "human", keys)
    assert ledger.draws.drawn("human 1") == keys
    assert ledger.draws.undrawn([*keys, "new"]) == ["new"]


def _draw(argument: tuple[str, str]) -> str | None:
    url, phase = argument
    try:
        open_ledger(url).draws.draw(phase, "human", [f"item{number}" for number in range(50)])
    except LedgerError:
        return None
    return phase


def test_of_racing_phases_one_gets_the_items(ledger: Ledger) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        winners = [each for each in pool.map(_draw, [(ledger.url, f"phase {n}") for n in range(6)]) if each]
    assert len(winners) == 1
    assert len(ledger.draws.drawn(winners[0])) == 50


def test_scores_keep_the_first(ledger: Ledger) -> None:
    ledger.scores.record("judge", {"b": 0.25, "a": 0.1 + 0.2})
    ledger.scores.record("judge", {"b": 0.75, "c": 1.0})
    ledger.scores.record("other", {"a": 0.5})
    assert ledger.scores.of("judge") == {"a": 0.1 + 0.2, "b": 0.25, "c": 1.0}
    assert ledger.scores.of("judge", ["c", "nobody"]) == {"c": 1.0}


def test_results_are_told_apart_by_kind_run_and_name(ledger: Ledger) -> None:
    recorded: list[tuple[ResultKind, str, dict[str, Any], str]] = [
        ("phase", "human 1", {"kept": 3, "rate": 0.5, "curve": [1, 2]}, "run"),
        ("phase", "automation 1", {"kept": 4}, "run"),
        ("phase", "human 1", {"kept": 99}, "run"),
        ("phase", "human 1", {"kept": 5}, "other"),
        ("phase_start", "human 1", {"kept": 6}, "run"),
        ("shard", "human 1", {"kept": 7}, ""),
    ]
    for kind, name, facts, run in recorded:
        ledger.results.record(kind, name, Facts(facts), run=run)
    first = Facts({"kept": 3, "rate": 0.5, "curve": [1, 2]})
    assert ledger.results.get("phase", "human 1", Facts, run="run") == first
    assert ledger.results.get("phase_start", "human 1", Facts, run="run") == Facts({"kept": 6})
    assert ledger.results.get("phase", "human 2", Facts, run="run") is None
    assert ledger.results.get("phase", "human 1", Facts) is None, "of no run"
    assert [each.root["kept"] for each in ledger.results.all("phase", Facts, run="run")] == [3, 4]
    assert [each.root["kept"] for each in ledger.results.all("phase", Facts)] == [3, 4, 5]
    assert [each.root["kept"] for each in ledger.results.all("shard", Facts)] == [7]


def test_rejects_are_counted_by_reason(ledger: Ledger) -> None:
    ledger.rejects.record(REJECTS[:2])
    ledger.rejects.record(REJECTS)
    assert ledger.rejects.counts() == {"truncated image": 2, "nothing moved": 1}
    assert ledger.rejects.all() == [REJECTS[2], REJECTS[0], REJECTS[1]]


def test_a_shard_committed_twice_is_one(ledger: Ledger) -> None:
    first = ledger.shards.commit(shard(0), ROWS, REJECTS)
    again = ledger.shards.commit(shard(0, sha256="cc"), ROWS, REJECTS)
    assert again == first == ledger.shards.find("work 0/0")
    assert ledger.shards.samples_of(first.name) == ROWS
    assert ledger.shards.find("other work") is None
    assert len(ledger.rejects.all()) == 3


def test_a_name_holds_one_content(ledger: Ledger) -> None:
    first = ledger.shards.commit(shard(0), ROWS)
    assert ledger.shards.commit(shard(0, digest="newer code"), ROWS) == first
    with pytest.raises(LedgerError, match="other contents"):
        ledger.shards.commit(shard(0, digest="newer code", sha256="cc"), ROWS)
    assert ledger.shards.all() == [first]


def test_shards_are_listed_by_round_stage_and_index(ledger: Ledger) -> None:
    for index, round in ((1, 0), (0, 1), (0, 0)):
        ledger.shards.commit(shard(index, round=round), ROWS)
    assert [(each.round, each.index) for each in ledger.shards.all()] == [(0, 0), (0, 1), (1, 0)]
    assert [each.index for each in ledger.shards.all("pool", 0)] == [0, 1]
    assert ledger.shards.all("grown") == []
    for place, purpose in enumerate(("night", "automation", "fresh", "human", "calibration")):
        for index in (1, 0):
            facts = {"name": f"{place} {index}", "stage": "candidates", "purpose": purpose, "index": index}
            digest = {"input_digest": f"{purpose} {index}"}
            ledger.shards.commit(shard(0).model_copy(update={**facts, **digest}), [])
    listed = ledger.shards.all("candidates")
    assert [(each.purpose, each.index) for each in listed] == [
        (purpose, index)
        for purpose in ("human", "automation", "calibration", "fresh", "night")
        for index in (0, 1)
    ]
    everything = ledger.shards.all()
    assert sorted(everything[::-1], key=place_of) == everything
    with pytest.raises(LedgerError, match="no shard nothing"):
        ledger.shards.named("nothing")
