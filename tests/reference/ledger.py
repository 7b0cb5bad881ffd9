"""docs/reference/ledger-schema.md: the ledger's tables, from their metadata and a new ledger's triggers."""

import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from data_specs.ledger import metadata
from data_specs.migrations import HEAD
from tasks.storage.ledger import open_ledger
from tests.reference.markdown import code, page, table

INTRO = f"""
The ledger is a database: SQLite in the workspace, or PostgreSQL. The schema is the same in both, at
revision `{HEAD}`. Read it freely; write to it with cleanplate only. Times are UTC.

An *append-only* table has triggers that refuse every change and every deletion. A second row with the
same unique value is ignored, so a retry is harmless.
"""
TABLES: dict[str, str] = {
    "shards": "One row for each shard. The row is the commit: a shard without it does not exist.",
    "samples": "The samples of each shard, in order.",
    "scene_images": "Each image that was ever assigned to a scene, with what finds near images again.",
    "rejects": "Samples that were refused, each with its reason.",
    "pool_draws": "Which phase has used which pool item, and for what. An item is drawn once.",
    "reviews": "Answers of reviewers, of the oracle and of imported files.",
    "scores": "What each discriminator gives each candidate. The column `judge` holds its hash.",
    "models": "Trained models with their cards, by the hash of weights and config.",
    "model_measurements": "What was measured of a model, and on what.",
    "promotions": "Which model became champion, when and why. The last one of a kind counts.",
    "results": "Results by kind, run and name: finished phases, trainings, evaluations, nightly runs.",
    "costs": "The seconds that each piece of work took.",
    "versions": "The manifest of each dataset version.",
    "version_events": "Which version became the current one, when and why. The last one counts.",
    "people": "Reviewers, with the hash of their token.",
    "person_events": "When a reviewer was added, disabled or enabled, and why.",
    "review_sessions": "Logins of the review page, by the hash of the session.",
    "review_batches": "Batches of candidates that reviewers are asked about.",
    "batch_events": "What happened to a batch: opened, extended, continued, abandoned.",
    "review_items": "The candidates of each batch, in the order of the queue.",
    "leases": "Which reviewer has which item until when.",
    "review_undos": "Answers that a reviewer took back.",
    "batch_counts": "The counts of each batch's items, kept with each answer.",
    "answer_counts": "The counts of each reviewer's answers to a batch, kept with each answer.",
    "queue_places": "Where in a batch's queue each reviewer looks for the next item.",
    "recounts": "Disabled or enabled reviewers whose items are still being counted anew.",
}


def render() -> str:
    """The page."""
    protected = append_only_tables()
    sections = [_section(each, each.name in protected) for each in metadata.tables.values()]
    return page("Ledger schema", INTRO, *sections)


def append_only_tables() -> set[str]:
    """The tables of a new SQLite ledger that refuse updates and deletions."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'ledger.sqlite'}"
        open_ledger(url)
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            found = connection.execute(
                sa.text(
                    "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_no_update'"
                )
            )
            names = set(found.scalars())
        engine.dispose()
    return names


def _section(each: sa.Table, append_only: bool) -> str:
    rows = [
        (code(column.name), _type(column), "yes" if column.nullable else "no", _keys(column))
        for column in each.columns
    ]
    parts = [
        f"## `{each.name}`",
        TABLES[each.name] + (" *Append-only.*" if append_only else ""),
        table(("Column", "Type", "Null", "Key"), rows),
        _indexes(each),
    ]
    return "\n\n".join(part for part in parts if part)


def _type(column: sa.Column[Any]) -> str:
    kind = column.type
    if isinstance(kind, sa.types.TypeDecorator):
        return "timestamp, UTC"
    words = {sa.BigInteger: "integer, 64 bits", sa.LargeBinary: "bytes", sa.Double: "double", sa.JSON: "JSON"}
    length = f", at most {kind.length} characters" if isinstance(kind, sa.String) and kind.length else ""
    named = words.get(type(kind))
    return named or ("text" if isinstance(kind, sa.String) else type(kind).__name__.lower()) + length


def _keys(column: sa.Column[Any]) -> str:
    words = ["primary key"] if column.primary_key else []
    words += ["unique"] if column.unique else []
    words += ["indexed"] if column.index else []
    words += [f"→ `{each.target_fullname}`" for each in column.foreign_keys]
    default: Any = column.server_default
    words += [f"default `{default.arg}`" if str(default.arg) else "default empty"] if default else []
    return ", ".join(words)


def _indexes(each: sa.Table) -> str:
    """Constraints and indexes of several columns, a line each."""
    lines = [
        f"- unique together: {', '.join(code(column.name) for column in constraint.columns)}"
        for constraint in each.constraints
        if isinstance(constraint, sa.UniqueConstraint) and len(constraint.columns) > 1
    ]
    for index in each.indexes:
        where = index.dialect_options["sqlite"]["where"]
        condition = f", where {code(_sql(where))}" if where is not None else ""
        if len(index.columns) > 1 or condition:
            kind = "unique index" if index.unique else "index"
            columns = ", ".join(code(column.name) for column in index.columns)
            lines.append(f"- {kind} `{index.name}`: {columns}{condition}")
    return "\n".join(sorted(lines))


def _sql(condition: Any) -> str:
    return str(condition.compile(compile_kwargs={"literal_binds": True})).replace("\n", " ")
