"""The ledger's questions on many rows: against plain Python, with few statements, and without reading all."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from benchmarks._synthetic_ledger import START, fill, key
from data_specs.errors import LedgerError
from data_specs.shard import SampleRow, ShardRef
from tasks.storage.ledger import Ledger, open_ledger
from tests.facts import Facts

ITEMS = 2_000


@pytest.fixture
def filled(ledger_url: str) -> Ledger:
    ledger = open_ledger(ledger_url)
    fill(ledger_url, ITEMS)
    return ledger


def rows(ledger: Ledger, table: str) -> list[Any]:
    with ledger._database.reading() as connection:
        return list(connection.exec_driver_sql(f"SELECT * FROM {table}"))


def pool_rows(ledger: Ledger) -> Iterator[Any]:
    """The pool's samples in the shards' order."""
    order = {row.name: row.index for row in rows(ledger, "shards") if row.stage == "pool"}
    held = [row for row in rows(ledger, "samples") if row.shard in order]
    yield from sorted(held, key=lambda row: (order[row.shard], row.position))


def test_unused_items_are_those_of_a_loop_over_all_rows(filled: Ledger) -> None:
    drawn = {row.item: row.purpose for row in rows(filled, "pool_draws")}
    assert Counter(drawn.values()).keys() == {"human", "automation", "fresh"}
    pool = list(pool_rows(filled))
    train = [row for row in pool if row.split == "train"]
    measuring = {row.scene for row in pool if drawn.get(row.key) == "fresh"}
    touched = {row.scene for row in pool if row.key in drawn}
    unused = [row.key for row in train if row.key not in drawn and row.scene not in measuring]
    apart = [row.key for row in train if row.key not in drawn and row.scene not in touched]
    draws = filled.draws
    assert draws.undrawn_items() == unused
    assert draws.undrawn_items(apart=True) == apart
    assert sorted(key for part in draws.undrawn_parts() for key in part) == sorted(unused)
    assert sorted(key for part in draws.undrawn_parts(apart=True) for key in part) == sorted(apart)
    assert draws.undrawn_count() == len(unused)
    assert [draws.undrawn_count(at_most=limit) for limit in (0, 7, 10**6)] == [0, 7, len(unused)]
    assert draws.pool_count("train") == len(train)
    assert draws.pool_count("train", truth_known=True) == 0
    keys = [row.key for row in pool]
    assert draws.undrawn(keys) == [key for key in keys if key not in drawn]


def test_an_item_of_two_shards_counts_once(ledger: Ledger) -> None:
    for index in range(2):
        name = f"pool {index}"
        ref = ShardRef(
            name=name, stage="pool", round=0, index=index, samples=1, size_bytes=1, sha256="a",
            index_sha256="b", input_digest=name,
        )  # fmt: skip
        ledger.shards.commit(
            ref, [SampleRow("a", "scene", "train", 0), SampleRow(f"b{index}", "s", "train", 1)]
        )
    assert ledger.draws.undrawn_items() == ["a", "b0", "b1"]
    assert ledger.draws.undrawn_count() == ledger.draws.pool_count("train") == 3
    assert {key for part in ledger.draws.undrawn_parts() for key in part} == {"a", "b0", "b1"}


def test_answered_candidates_are_those_of_a_loop(filled: Ledger) -> None:
    answered = {row.candidate for row in rows(filled, "reviews")}
    fresh = {row.item for row in rows(filled, "pool_draws") if row.purpose == "fresh"}
    measuring = {row.scene for row in pool_rows(filled) if row.key in fresh}
    shards = {row.name: row for row in rows(filled, "shards") if row.stage == "candidates"}
    held = [row for row in rows(filled, "samples") if row.shard in shards and row.key in answered]
    expected = {(row.shard, row.key, row.item) for row in held if row.scene not in measuring}
    assert len(expected) < len(held), "some measure"
    assert set(filled.shards.answered()) == expected
    assert set(filled.shards.answered(1)) == {row for row in expected if shards[row[0]].round <= 1}
    assert filled.shards.answered(0) == []


def test_shards_and_samples_by_many_names(filled: Ledger) -> None:
    names = [row.name for row in rows(filled, "shards")][::-1]
    refs = filled.shards.all_named([*names, names[0]])
    assert list(refs) == names
    assert refs == {name: filled.shards.named(name) for name in names}
    assert filled.shards.samples_in(names) == {name: filled.shards.samples_of(name) for name in names}
    assert filled.shards.samples_in() == filled.shards.samples_in(sorted(names))
    assert filled.shards.all_named([]) == {}
    with pytest.raises(LedgerError, match="no shard nothing"):
        filled.shards.all_named([names[0], "nothing"])
    pool = defaultdict(set)
    for row in pool_rows(filled):
        pool[row.shard].add(row.key)
    keys = [key("pool", n) for n in range(ITEMS)]
    holders = filled.shards.holders_of([*keys, "nobody"], "pool")
    assert len(holders) == ITEMS
    assert all(key in pool[ref.name] for key, ref in holders.items())


def test_the_newest_result_comes_first(ledger: Ledger) -> None:
    assert list(ledger.results.newest_first("night", Facts)) == []
    for number in range(3):
        ledger.results.record("night", str(number), Facts({"n": number}), run="b" if number else "a")
        ledger.results.record("ingest", str(number), Facts({"n": -1}))
    assert [each.root["n"] for each in ledger.results.newest_first("night", Facts)] == [2, 1, 0]


# Statements: their number does not grow, and none reads a whole large table.

DAY = (START, START + timedelta(days=1))


def questions(ledger: Ledger) -> dict[str, Callable[[], object]]:
    """Questions about a few of many rows."""
    candidates = [key("candidate", n) for n in range(1, 200)]
    pool = [key("pool", n) for n in range(100)]
    return {
        "holders": lambda: ledger.shards.holders_of(pool, "pool"),
        "other holders": lambda: ledger.shards.other_holders(pool, "pool", "work"),
        "undrawn": lambda: ledger.draws.undrawn(pool),
        "named": lambda: ledger.shards.all_named([f"pool-{1000000 + n}" for n in range(4)]),
        "samples": lambda: ledger.shards.samples_in([f"pool-{1000000 + n}" for n in range(4)]),
        "decisions": lambda: ledger.reviews.decisions(candidates),
        "scores": lambda: ledger.scores.of("d10001", candidates),
        "newest scores": lambda: ledger.scores.newest(candidates),
        "newest training": lambda: next(ledger.results.newest_first("discriminator_training", Facts)),
        "shards of a day": lambda: ledger.counts.shards(*DAY),
        "reviews of a day": lambda: ledger.counts.reviews(*DAY),
        "rejects of a day": lambda: ledger.rejects.counts(*DAY),
        "costs of a day": lambda: ledger.costs.by_kind(*DAY),
        "results of a day": lambda: ledger.results.all("phase", Facts, since=DAY[0], until=DAY[1]),
        "answers of a round": lambda: ledger.counts.answers(1, "human"),
    }


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """The statements of all engines meanwhile."""
    executed: list[tuple[str, Any]] = []

    def execute(_c: object, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        if not sql.startswith(("BEGIN", "PRAGMA")):
            executed.append((sql, parameters))

    event.listen(sa.Engine, "before_cursor_execute", execute)
    try:
        yield executed
    finally:
        event.remove(sa.Engine, "before_cursor_execute", execute)


def test_no_question_about_few_rows_reads_a_whole_table(filled: Ledger) -> None:
    """On SQLite without statistics, as when it has just grown. A stage is as good as the whole table."""
    scans: dict[str, list[str]] = {}
    for name, ask in questions(filled).items():
        with statements() as executed:
            ask()
        assert 1 <= len(executed) <= 2, name
        steps = [step for sql, given in executed for step in plan(filled, sql, given)]
        scans[name] = [step for step in steps if is_scan(step)]
        # PostgreSQL has statistics: in a small ledger a stage is a good start.
        if name != "answers of a round" and filled.url.startswith("sqlite"):
            scans[name] += [step for step in steps if "ix_shards_stage" in step]
    assert {name: steps for name, steps in scans.items() if steps} == {}


def plan(ledger: Ledger, sql: str, parameters: Any) -> list[str]:
    engine = sa.create_engine(ledger.url)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
            explain = "EXPLAIN "
        else:
            explain = "EXPLAIN QUERY PLAN "
        steps = [row[-1] for row in connection.exec_driver_sql(explain + sql, parameters)]
    engine.dispose()
    return steps


def is_scan(step: str) -> bool:
    """A whole table or index is read. Small tables may be, and so may the asked keys."""
    words = step.replace("->", "").replace("Seq Scan on", "SCAN").split()
    return words[:1] == ["SCAN"] and words[1] not in ("json_each", "anon_1", "people", "models", "shards")


def test_the_number_of_statements_does_not_grow_with_shards(ledger: Ledger) -> None:
    counts: list[dict[str, int]] = []
    for shards in (2, 40):
        for index in range(shards):
            for stage in ("pool", "candidates"):
                commit(ledger, stage, index)
        names = [f"{stage} {index}" for stage in ("pool", "candidates") for index in range(shards)]
        keys = [f"{name} {n}" for name in names for n in range(3)]
        asked: dict[str, Callable[[], object]] = {
            "named": lambda names=names: ledger.shards.all_named(names),
            "samples": lambda names=names: ledger.shards.samples_in(names),
            "holders": lambda keys=keys: ledger.shards.holders_of(keys, "pool"),
            "works": lambda names=names: ledger.shards.of_works(names),
            "unused": lambda: list(ledger.draws.undrawn_parts()),
            "count": ledger.draws.undrawn_count,
            "answered": ledger.shards.answered,
        }
        counted: dict[str, int] = {}
        for name, ask in asked.items():
            with statements() as executed:
                ask()
            counted[name] = len(executed)
        counts.append(counted)
    assert counts[0] == counts[1]
    assert max(counts[1].values()) <= 2, json.dumps(counts[1])


def commit(ledger: Ledger, stage: Any, index: int) -> None:
    name = f"{stage} {index}"
    ref = ShardRef(
        name=name, stage=stage, round=0, index=index, samples=3, size_bytes=1, sha256="a", index_sha256="b",
        input_digest=name,
    )  # fmt: skip
    ledger.shards.commit(ref, [SampleRow(f"{name} {n}", f"scene {n}", "train", n) for n in range(3)])
