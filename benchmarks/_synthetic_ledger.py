"""Fill a ledger with any number of synthetic rows in the project's own tables, inside the database.

A workspace of N pool items gets 0.6 N candidates, 0.06 N triplets and as many grown ones, 0.48 N scores,
0.12 N review items with 0.08 N answers, 0.15 N draws and 0.5 N rejects. Its first day is the same at any N.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.review_batch import QueuePolicy
from tasks.storage.ledger.database import use_wal

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The first day of the synthetic rows."""
POOL_SHARD, CANDIDATE_SHARD, BATCH = 500, 600, 1_000
"""Samples of a pool or pair shard, of a shard of candidates, and items of a review batch."""
SHARDS_A_ROUND = 50
_FILLER = "0" * 44

# SQL of both databases. Keys look like digests: their order says nothing about the order of the rows.

_SERIES = """WITH RECURSIVE series(n) AS (
    SELECT CAST(0 AS BIGINT) WHERE :rows > 0 UNION ALL SELECT n + 1 FROM series WHERE n + 1 < :rows)"""
_DRAWN = "(20 * ({d} / 3) + 2 * ({d} % 3))"
"""The pool item of a draw: three of twenty, all of the training split."""


def key_of(kind: str, number: str) -> str:
    """SQL of a key: unique for each number, and scattered."""
    return f"'{kind}-' || CAST(1000000000000 + (({number}) * 2654435761) % 4294967296 AS TEXT)"


def key(kind: str, number: int) -> str:
    """The same key in Python."""
    return f"{kind}-{1000000000000 + number * 2654435761 % 4294967296}"


def shard_name(stage: str, number: int) -> str:
    """The name of a synthetic shard."""
    return f"{stage}-{1000000 + number}"


def _shard(stage: str, number: str) -> str:
    return f"'{stage}-' || CAST(1000000 + {number} AS TEXT)"


def fill(url: str, items: int) -> None:
    """Fill an empty ledger at the newest schema.

    Args:
        url: SQLAlchemy's address of the database.
        items: Pool items, N. A multiple of 2,000.
    """
    engine = sa.create_engine(url)
    try:
        with _filling(engine) as connection:
            for statement, rows in _statements(connection.dialect.name, items):
                connection.execute(sa.text(f"INSERT INTO {statement}"), {"rows": rows})
            for counts in _COUNTS:
                connection.execute(sa.text(counts))
            _few_rows(connection, items)
        if engine.dialect.name == "sqlite":
            use_wal(engine)
    finally:
        engine.dispose()


@contextmanager
def _filling(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that need not be safe. Indexes are made at the end, which is much faster."""
    indexes = [index for table in tables.metadata.sorted_tables for index in table.indexes]
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-1000000"):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
        for index in indexes:
            index.drop(connection)
        yield connection
        for index in indexes:
            index.create(connection)
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")  # As its autovacuum does, a minute later.
        connection.commit()


def _statements(dialect: str, items: int) -> Iterator[tuple[str, int]]:
    """INSERT statements without their first words, and the number of rows of each."""
    day = "86400 * {n} / {rows_a_day}"
    stages = {"pool": items, "triplets": items * 6 // 100, "grown": items * 6 // 100}
    for stage, samples in {**stages, "candidates": items * 6 // 10}.items():
        of = CANDIDATE_SHARD if stage == "candidates" else POOL_SHARD
        yield _shards(dialect, stage, of), -(-samples // of)
        yield _samples(stage, of), samples
    purpose = "CASE WHEN n % 100 = 7 THEN 'fresh' WHEN n % 5 = 0 THEN 'human' ELSE 'automation' END"
    yield (
        f"pool_draws (item, phase, purpose, drawn_at) {_SERIES} "
        f"SELECT {key_of('pool', _DRAWN.format(d='n'))}, 'phase ' || CAST(n / 500 AS TEXT), {purpose}, "
        f"{_moment(dialect, day.format(n='n', rows_a_day=1_500))} FROM series ORDER BY 1",
        items * 15 // 100,
    )
    yield (
        f"rejects (id, source, name, reason, detail, recorded_at) {_SERIES} "
        f"SELECT {key_of('reject', 'n')}, 'folder', 'image ' || CAST(n AS TEXT), "
        "CASE WHEN n % 3 = 0 THEN 'damaged image' ELSE 'mask too large' END, '', "
        f"{_moment(dialect, day.format(n='n', rows_a_day=5_000))} FROM series ORDER BY 1",
        items // 2,
    )
    round = f"1 + n / {CANDIDATE_SHARD * SHARDS_A_ROUND}"
    yield (
        f"scores (judge, candidate, score) {_SERIES} SELECT 'd' || CAST(10000 + {round} AS TEXT), "
        f"{key_of('candidate', 'n')}, (n % 97) / 97.0 FROM series WHERE n % 5 <> 0 ORDER BY 1, 2",
        items * 6 // 10,
    )
    yield from _review_rows(dialect, items)


def _shards(dialect: str, stage: str, of: int) -> str:
    round = f"1 + n / {SHARDS_A_ROUND}" if stage in ("candidates", "grown") else "0"
    purpose = "CASE WHEN n % 5 = 0 THEN 'human' ELSE 'automation' END" if round != "0" else "NULL"
    return (
        f'shards (name, input_digest, stage, round, purpose, "index", samples, size_bytes, sha256, '
        f"index_sha256, created_at) {_SERIES} SELECT {_shard(stage, 'n')}, "
        f"'work ' || {_shard(stage, 'n')}, '{stage}', {round}, {purpose}, n, {of}, 100000000, "
        f"'{_FILLER}' || {_shard(stage, 'n')}, '{_FILLER}' || {_shard(stage, 'n')}, "
        f"{_moment(dialect, 'n * 4320')} FROM series"
    )


def _samples(stage: str, of: int) -> str:
    number, item = "n", "NULL"
    if stage == "candidates":
        number = _DRAWN.format(d="(n / 4)")
        item = key_of("pool", number)
    split = f"CASE {number} % 10 WHEN 8 THEN 'validation' WHEN 9 THEN 'test' ELSE 'train' END"
    return (
        f"samples (shard, position, key, scene, split, item) {_SERIES} SELECT {_shard(stage, f'n / {of}')}, "
        f"n % {of}, {key_of(stage.removesuffix('s'), 'n')}, {key_of('scene', number)}, {split}, {item} "
        "FROM series"
    )


def _review_rows(dialect: str, items: int) -> Iterator[tuple[str, int]]:
    """Every fifth candidate is asked about. Two of three have an answer, each of one of twenty people."""
    asked = items * 12 // 100
    candidate, batch = key_of("candidate", "5 * n"), f"'batch-' || CAST(1000 + n / {BATCH} AS TEXT)"
    person, answered = "'person ' || CAST(n % 20 AS TEXT)", "n % 3 <> 0"
    moment = _moment(dialect, "86400 * n / 1200")
    truth = "false" if dialect == "postgresql" else "0"
    yield (
        f"people (name, token_hash, excluded) {_SERIES} SELECT {person}, {person}, {truth} FROM series",
        20,
    )
    # Batches first: PostgreSQL checks foreign keys at once.
    policy = f"'{QueuePolicy().model_dump_json()}'"
    policy = f"CAST({policy} AS JSON)" if dialect == "postgresql" else policy
    yield (
        f"review_batches (name, round, policy, opened_at) {_SERIES} SELECT "
        f"'batch-' || CAST(1000 + n AS TEXT), 1, {policy.replace(':', chr(92) + ':')}, "
        f"{_moment(dialect, 'n * 4320')} FROM series",
        -(-asked // BATCH),
    )
    yield (
        f"batch_events (event, batch, kind, reason, recorded_at) {_SERIES} SELECT "
        f"'opened ' || CAST(n AS TEXT), 'batch-' || CAST(1000 + n AS TEXT), 'opened', '', "
        f"{_moment(dialect, 'n * 4320')} FROM series",
        -(-asked // BATCH),
    )
    yield (
        f"review_items (batch, candidate, position, answers_wanted, gold, answers_left) {_SERIES} SELECT "
        f"{batch}, {candidate}, n % {BATCH}, 1, NULL, CASE WHEN {answered} THEN 0 ELSE 1 END FROM series "
        "ORDER BY 1, 2",
        asked,
    )
    yield (
        "reviews (event, candidate, decision, reviewer, kind, reason, answered_at, batch, seconds) "
        f"{_SERIES} SELECT {key_of('review', 'n')}, {candidate}, "
        f"CASE WHEN n % 4 = 1 THEN 'no' ELSE 'yes' END, {person}, 'person', '', {moment}, {batch}, 2.5 "
        f"FROM series WHERE {answered} ORDER BY 1",
        asked,
    )
    yield (
        f"leases (lease, batch, candidate, person, state, expires_at) {_SERIES} SELECT "
        f"{key_of('lease', 'n')}, {batch}, {candidate}, {person}, 'answered', {moment} FROM series "
        f"WHERE {answered} ORDER BY 1",
        asked,
    )


_COUNTS = (
    """
    INSERT INTO batch_counts (batch, items, answers_wanted, answers_left, complete)
    SELECT batch, COUNT(*), SUM(answers_wanted), SUM(answers_left),
           SUM(CASE WHEN answers_left = 0 THEN 1 ELSE 0 END) FROM review_items GROUP BY batch
    """,
    """
    INSERT INTO answer_counts (batch, kind, reviewer, answers, yes, no, skipped, gold_answers, gold_right)
    SELECT batch, kind, reviewer, COUNT(*), SUM(CASE WHEN decision = 'yes' THEN 1 ELSE 0 END),
           SUM(CASE WHEN decision = 'no' THEN 1 ELSE 0 END), 0, 0, 0
    FROM reviews GROUP BY batch, kind, reviewer
    """,
)
"""What the ledger keeps of each batch: no item is gold, and nobody skipped."""


def _moment(dialect: str, seconds: str) -> str:
    """SQL of the time so many seconds after `START`."""
    seconds = f"({int(START.timestamp())} + {seconds})"
    if dialect == "postgresql":
        return f"to_timestamp({seconds})"
    return f"datetime({seconds}, 'unixepoch') || '.000000'"


def _few_rows(connection: sa.Connection, items: int) -> None:
    """Rows with JSON: models and phases of each round, costs of each shard, and what each ingest recorded."""
    rounds = 1 + items * 6 // 10 // (CANDIDATE_SHARD * SHARDS_A_ROUND)
    numbers = range(1, rounds + 1)
    _insert(connection, tables.models, [_model(f"d{10000 + n}", "discriminator", n) for n in numbers])
    _insert(connection, tables.models, [_model(f"r{10000 + n}", "remover", n) for n in numbers])
    trained = {"discriminator": {}, "reviewed": 1}
    trainings = [_result("discriminator_training", "", f"d{n}", trained, n) for n in numbers]
    _insert(connection, tables.results, trainings)
    shards = items // POOL_SHARD
    ingests = [_result("ingest", "", f"work {n}", {"finished": n == shards}, n) for n in range(shards)]
    _insert(connection, tables.results, ingests)
    works = [f"{what} of {shard}" for what in ("propose", "score") for shard in range(shards)]
    times = [START + timedelta(seconds=4320 * (n % shards)) for n in range(len(works))]
    clocks = {"wall": 20.0, "cpu": 30.0, "gpu": 0.0}
    costs = [
        {"work": work, "what": work.split()[0], **clocks, "recorded_at": moment}
        for work, moment in zip(works, times, strict=True)
    ]
    _insert(connection, tables.costs, costs)


def _model(hash: str, kind: str, number: int) -> dict[str, Any]:
    facts = {"path": "models", "metrics": {}, "settings": {}, "weights": {}, "git_revision": ""}
    return {"hash": hash, "kind": kind, **facts, "created_at": START + timedelta(days=number)}


def _result(kind: str, run: str, name: str, payload: dict[str, Any], number: int) -> dict[str, Any]:
    recorded_at = START + timedelta(seconds=4320 * number)
    return {"kind": kind, "run": run, "name": name, "payload": payload, "recorded_at": recorded_at}


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), 10_000):
        connection.execute(sa.insert(table), rows[start : start + 10_000])


def size_bytes(url: str) -> int:
    """Bytes of a SQLite file, its write-ahead log included."""
    file = Path(str(sa.make_url(url).database))
    return sum(path.stat().st_size for path in file.parent.glob(f"{file.name}*"))
