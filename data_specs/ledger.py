"""Define the ledger's tables: one schema, valid on SQLite and PostgreSQL.

Unique keys make a retry harmless. Every id is derived from what it names.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = sa.MetaData(naming_convention=NAMING)


class UtcTime(TypeDecorator[datetime]):
    """A time, always with a zone and in UTC. SQLite would drop the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raise ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no time zone; give it with one")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC, whatever the database returns."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _sequence() -> sa.Column[int]:
    """Column for the order in which events were recorded."""
    return sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True)


shards = sa.Table(
    "shards",
    metadata,
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("input_digest", sa.String(128), nullable=False, unique=True),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("purpose", sa.String(16), nullable=True),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("index_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False, index=True),
    sa.Index("ix_shards_stage", "stage", "round"),
)

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("shard", sa.String(160), sa.ForeignKey("shards.name"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(80), nullable=False, index=True),
    sa.Column("scene", sa.String(160), nullable=False),
    sa.Column("split", sa.String(16), nullable=False),
    sa.Column("item", sa.String(80)),
)

scene_images = sa.Table(
    "scene_images",
    metadata,
    _sequence(),
    sa.Column("image", sa.String(20), nullable=False, unique=True),
    sa.Column("scene", sa.String(160), nullable=False),
    sa.Column("split", sa.String(16), nullable=False),
    sa.Column("lineage", sa.String(20), nullable=True, index=True),
    sa.Column("hash", sa.BigInteger, nullable=False),
    sa.Column("thumbnail", sa.LargeBinary, nullable=False),
)

rejects = sa.Table(
    "rejects",
    metadata,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("reason", sa.String(80), nullable=False, index=True),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    sa.Index("ix_rejects_recorded_at", "recorded_at", "reason"),
)

pool_draws = sa.Table(
    "pool_draws",
    metadata,
    _sequence(),
    sa.Column("item", sa.String(80), nullable=False, unique=True),
    sa.Column("phase", sa.String(160), nullable=False, index=True),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("drawn_at", UtcTime, nullable=False),
    sa.Index("ix_pool_draws_purpose", "purpose", "item"),
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("event", sa.String(64), primary_key=True),
    sa.Column("candidate", sa.String(80), nullable=False),
    sa.Column("decision", sa.String(8), nullable=False),
    sa.Column("reviewer", sa.String(160), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("answered_at", UtcTime, nullable=False, index=True),
    sa.Column("batch", sa.String(80), nullable=True),
    sa.Column("seconds", sa.Double, nullable=True),
    sa.Column("page_version", sa.String(32), nullable=True),
    # Both columns: without statistics SQLite would read all answers of the batch to count those of an item.
    sa.Index("ix_reviews_candidate", "candidate", "batch"),
    # A person's answers in the order of the queue: the recent ones, and slices of all.
    sa.Index("ix_reviews_batch", "batch", "reviewer", "answered_at", "event"),
)

scores = sa.Table(
    "scores",
    metadata,
    sa.Column("judge", sa.String(64), key="discriminator", primary_key=True),
    sa.Column("candidate", sa.String(80), primary_key=True, index=True),
    sa.Column("score", sa.Double, nullable=False),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("parent", sa.String(64), nullable=True),
    sa.Column("dataset_version", sa.Integer, nullable=True),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    # Empty for models from before there were cards.
    sa.Column("settings", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("weights", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("git_revision", sa.String(80), nullable=False, server_default=""),
    sa.Column("distilled", sa.Boolean, nullable=False, server_default=sa.false()),
)

model_measurements = sa.Table(
    "model_measurements",
    metadata,
    _sequence(),
    sa.Column("event", sa.String(20), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), sa.ForeignKey("models.hash"), nullable=False, index=True),
    sa.Column("measured_on", sa.Text, nullable=False),
    sa.Column("dataset_version", sa.Integer, nullable=True),
    sa.Column("values", sa.JSON, nullable=False),
    sa.Column("measured_at", UtcTime, nullable=False),
)

promotions = sa.Table(
    "promotions",
    metadata,
    _sequence(),
    sa.Column("event", sa.String(20), nullable=False, unique=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("hash", sa.String(64), sa.ForeignKey("models.hash"), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("promoted_at", UtcTime, nullable=False),
    sa.Column("action", sa.String(16), nullable=False, server_default="promoted"),
)

results = sa.Table(
    "results",
    metadata,
    _sequence(),
    sa.Column("kind", sa.String(32), nullable=False),
    # Empty where no run owns the result.
    sa.Column("run", sa.String(160), nullable=False),
    sa.Column("name", sa.String(160), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    sa.UniqueConstraint("kind", "run", "name"),
    sa.Index("ix_results_kind", "kind", "sequence"),
    sa.Index("ix_results_recorded_at", "kind", "recorded_at"),
)

costs = sa.Table(
    "costs",
    metadata,
    sa.Column("work", sa.String(160), primary_key=True),
    sa.Column("what", sa.String(80), nullable=False),
    sa.Column("wall", sa.Double, nullable=False),
    sa.Column("cpu", sa.Double, nullable=False),
    sa.Column("gpu", sa.Double, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False, index=True),
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("manifest", sa.JSON, nullable=False),
)

version_events = sa.Table(
    "version_events",
    metadata,
    _sequence(),
    sa.Column("event", sa.String(20), nullable=False, unique=True),
    sa.Column("number", sa.Integer, sa.ForeignKey("versions.number"), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
)

people = sa.Table(
    "people",
    metadata,
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("excluded", sa.Boolean, nullable=False),
)

person_events = sa.Table(
    "person_events",
    metadata,
    _sequence(),
    sa.Column("event", sa.String(20), nullable=False, unique=True),
    sa.Column("person", sa.String(80), sa.ForeignKey("people.name"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
)

review_sessions = sa.Table(
    "review_sessions",
    metadata,
    sa.Column("session_hash", sa.String(64), primary_key=True),
    sa.Column("token_hash", sa.String(64), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
)

review_batches = sa.Table(
    "review_batches",
    metadata,
    _sequence(),
    sa.Column("name", sa.String(80), nullable=False, unique=True),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
)

batch_events = sa.Table(
    "batch_events",
    metadata,
    _sequence(),
    sa.Column("event", sa.String(20), nullable=False, unique=True),
    sa.Column("batch", sa.String(80), sa.ForeignKey("review_batches.name"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
)

review_items = sa.Table(
    "review_items",
    metadata,
    sa.Column("batch", sa.String(80), sa.ForeignKey("review_batches.name"), primary_key=True),
    sa.Column("candidate", sa.String(80), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("answers_wanted", sa.Integer, nullable=False),
    sa.Column("gold", sa.String(8), nullable=True),
    # Follows from the reviews. Stored here so that the queue need not count them at each lease.
    sa.Column("answers_left", sa.Integer, nullable=False),
    sa.UniqueConstraint("batch", "position"),
    sa.Index("ix_review_items_candidate", "candidate"),
)
sa.Index(
    "ix_review_items_waiting",
    review_items.c.batch,
    review_items.c.position,
    sqlite_where=review_items.c.answers_left > 0,
    postgresql_where=review_items.c.answers_left > 0,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("lease", sa.String(20), primary_key=True),
    sa.Column("batch", sa.String(80), nullable=False),
    sa.Column("candidate", sa.String(80), nullable=False),
    sa.Column("person", sa.String(80), sa.ForeignKey("people.name"), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.ForeignKeyConstraint(["batch", "candidate"], ["review_items.batch", "review_items.candidate"]),
    sa.Index("ix_leases_item", "batch", "candidate", "person"),
)
sa.Index(
    "ix_leases_live",
    leases.c.batch,
    leases.c.person,
    sqlite_where=leases.c.state == "live",
    postgresql_where=leases.c.state == "live",
)
# One person never gets one item twice, neither as a lease nor as an answer.
sa.Index(
    "uq_leases_once",
    leases.c.batch,
    leases.c.candidate,
    leases.c.person,
    unique=True,
    sqlite_where=leases.c.state.in_(["live", "answered"]),
    postgresql_where=leases.c.state.in_(["live", "answered"]),
)

review_undos = sa.Table(
    "review_undos",
    metadata,
    sa.Column("event", sa.String(20), primary_key=True),
    sa.Column("review", sa.String(64), sa.ForeignKey("reviews.event"), nullable=False, unique=True),
    sa.Column("person", sa.String(80), nullable=False),
    sa.Column("undone_at", UtcTime, nullable=False),
)

# What follows from the tables above, kept so that nobody need count a whole batch. Without foreign keys: on
# PostgreSQL their checks would wait for whoever holds the batch.

batch_counts = sa.Table(
    "batch_counts",
    metadata,
    sa.Column("batch", sa.String(80), primary_key=True),
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("answers_wanted", sa.Integer, nullable=False),
    sa.Column("answers_left", sa.Integer, nullable=False),
    sa.Column("complete", sa.Integer, nullable=False),
)

# Answers that were not undone. Those of disabled people are among them: their rows are left out of a sum.
answer_counts = sa.Table(
    "answer_counts",
    metadata,
    sa.Column("batch", sa.String(80), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("reviewer", sa.String(160), primary_key=True),
    sa.Column("answers", sa.Integer, nullable=False),
    sa.Column("yes", sa.Integer, nullable=False),
    sa.Column("no", sa.Integer, nullable=False),
    sa.Column("skipped", sa.Integer, nullable=False),
    sa.Column("gold_answers", sa.Integer, nullable=False),
    sa.Column("gold_right", sa.Integer, nullable=False),
)

queue_places = sa.Table(
    "queue_places",
    metadata,
    sa.Column("batch", sa.String(80), primary_key=True),
    sa.Column("person", sa.String(80), primary_key=True),
    # No item before this position is available to the person.
    sa.Column("position", sa.Integer, nullable=False),
)

# People who were disabled or enabled, and whose items were not all counted anew yet.
recounts = sa.Table(
    "recounts",
    metadata,
    sa.Column("batch", sa.String(80), primary_key=True),
    sa.Column("person", sa.String(80), primary_key=True),
    # The last answer that was counted anew, by time. NULL before the first.
    sa.Column("answered_at", UtcTime, nullable=True),
    sa.Column("event", sa.String(64), nullable=True),
)
