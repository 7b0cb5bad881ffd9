"""The ledger's operations of a night, a round and a review, each ready to be timed on a synthetic ledger."""

import itertools
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import RootModel

from benchmarks._synthetic_ledger import (
    CANDIDATE_SHARD,
    POOL_SHARD,
    SHARDS_A_ROUND,
    START,
    key,
    shard_name,
)
from data_specs.daily_report import Prices
from data_specs.review_batch import Answer
from data_specs.shard import SampleRow, ShardRef
from data_specs.version import Selection
from tasks.monitoring.daily_report import DriftLimits, look_back
from tasks.monitoring.prometheus import open_metrics
from tasks.rorem.sample_pool import choose_items, unused_count
from tasks.storage.dataset.versions import create_version, selection_of
from tasks.storage.workspace import Workspace

ASKED, HELD = 2_000, 50
"""Keys of one question, and of one draw."""


class Operation(NamedTuple):
    """One operation, and how much it is asked."""

    name: str
    run: Callable[[], object]
    asked: int
    """Items in question; the rows that it must read, where it reads all of them."""
    unit: str
    repeats: int
    """Runs of which the median counts. Operations on all rows run once."""


def operations(workspace: Workspace, items: int) -> list[Operation]:
    """All operations, those that write last. Each run asks for something new.

    Args:
        workspace: With a ledger that `fill` filled.
        items: Its pool items.
    """
    return [
        *_of_a_night(workspace, items),
        *_of_a_round(workspace, items),
        *_of_watching(workspace, items),
        *_of_a_review(workspace, items),
        *_of_versions(workspace, items),
    ]


def _of_a_night(workspace: Workspace, items: int) -> list[Operation]:
    ledger, count, number = workspace.ledger(), itertools.count(), 500
    pool = [key("pool", n) for n in range(0, items, items // number)]
    held = itertools.count()

    def choose() -> None:
        choose_items.fn(workspace, f"night {uuid.uuid4()}", "night", number, next(count))

    def hold() -> None:
        start = HELD * next(held)
        keys = [key("pool", 20 * n + 8) for n in range(start, start + HELD)]
        ledger.draws.draw(f"hold {uuid.uuid4()}", "night", keys)

    def commit() -> None:
        name = f"001-candidates-{uuid.uuid4()}"
        ref = ShardRef(
            name=name,
            stage="candidates",
            round=1,
            purpose="night",
            index=0,
            samples=CANDIDATE_SHARD,
            size_bytes=1,
            sha256="a",
            index_sha256="b",
            input_digest=name,
        )
        samples = [SampleRow(uuid.uuid4().hex[:20], "s", "train", n, pool[0]) for n in range(CANDIDATE_SHARD)]
        workspace.ledger().shards.commit(ref, samples)

    def record_scores() -> None:
        scores = {uuid.uuid4().hex[:20]: 0.5 for _ in range(CANDIDATE_SHARD)}
        workspace.ledger().scores.record("d10001", scores)

    return [
        Operation("unused items, counted", lambda: unused_count(workspace), items, "pool item", 1),
        Operation("choose", choose, items, "pool item", 1),
        Operation("hold", hold, HELD, "item", 5),
        Operation("propose: holders", lambda: ledger.shards.holders_of(pool, "pool"), len(pool), "item", 5),
        Operation("commit a shard", commit, CANDIDATE_SHARD, "candidate", 5),
        Operation("record scores", record_scores, CANDIDATE_SHARD, "candidate", 5),
    ]


class _Training(RootModel[dict[str, Any]]):
    """Any training."""


def _of_a_round(workspace: Workspace, items: int) -> list[Operation]:
    ledger, candidates = workspace.ledger(), items * 6 // 10
    asked = [key("candidate", n) for n in range(0, candidates, candidates // ASKED)][:ASKED]
    first_round = min(candidates, CANDIDATE_SHARD * SHARDS_A_ROUND)
    scored = [key("candidate", n) for n in range(first_round) if n % 5][:ASKED]

    def reviewed_shards() -> None:
        answered = ledger.shards.answered()
        decided = ledger.reviews.decisions([row.key for row in answered])
        ledger.shards.all_named(row.shard for row in answered if row.key in decided)

    def newest_training() -> None:
        next(ledger.results.newest_first("discriminator_training", _Training))

    return [
        Operation("decisions", lambda: ledger.reviews.decisions(asked), ASKED, "candidate", 5),
        Operation(
            "scores of a discriminator", lambda: ledger.scores.of("d10001", scored), ASKED, "candidate", 5
        ),
        Operation("newest scores", lambda: ledger.scores.newest(scored), ASKED, "candidate", 5),
        Operation("reviewed shards", reviewed_shards, items * 8 // 100, "answer", 1),
        Operation("newest training", newest_training, 1, "call", 5),
    ]


def _of_watching(workspace: Workspace, items: int) -> list[Operation]:
    day = (START, START + timedelta(days=1))
    rows, ledger = items * 172 // 100, workspace.ledger()

    def inventory() -> None:
        ledger.shards.all()
        ledger.shards.samples_in()

    return [
        Operation(
            "daily report",
            lambda: look_back(workspace, *day, Prices(), DriftLimits()),
            5_000,
            "row of the day",
            3,
        ),
        Operation("metrics", lambda: open_metrics(workspace), rows, "row", 1),
        Operation("verify: inventory", inventory, rows, "sample", 1),
    ]


def _of_a_review(workspace: Workspace, items: int) -> list[Operation]:
    ledger, moment = workspace.ledger(), START + timedelta(days=2_000)
    batch, leases, people = "batch-1000", list[str](), itertools.count(4)

    def lease() -> None:
        [held] = ledger.leases.lease(batch, "person 1", 1, moment)
        leases.append(held.lease)

    def lease_and_answer() -> None:
        lease()
        ledger.leases.answer(leases[-1], "person 1", Answer(decision="yes", seconds=1), moment)

    return [
        Operation(
            "lease", lambda: ledger.leases.lease(batch, f"person {next(people)}", 1, moment), 1, "item", 5
        ),
        Operation("lease and answer", lease_and_answer, 1, "item", 5),
        Operation("exclude", lambda: _exclude(workspace), items * 4 // 1_000, "answer", 1),
    ]


def _exclude(workspace: Workspace) -> None:
    workspace.ledger().people.disable("person 3", "benchmark", START)


def _of_versions(workspace: Workspace, items: int) -> list[Operation]:
    samples = items * 12 // 100
    ledger = workspace.ledger()
    shards = [*ledger.shards.all(stage="triplets"), *ledger.shards.all(stage="grown")]
    assert shard_name("grown", 0) in {ref.name for ref in shards}
    assert samples <= len(shards) * POOL_SHARD
    return [
        Operation(
            "create version",
            lambda: create_version(workspace, [Selection(ref) for ref in shards], None, "benchmark"),
            samples,
            "sample",
            1,
        ),
        Operation("selection of a version", lambda: selection_of(workspace, 1), samples, "sample", 1),
    ]
