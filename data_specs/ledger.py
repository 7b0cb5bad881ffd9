"""The ledger's tables: one schema, valid on SQLite and PostgreSQL.

Unique keys carry the promise that a retry is harmless; every id is derived from what it names.
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
    """A moment, always aware and in UTC; SQLite would forget the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC, whatever the database gave back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _sequence() -> sa.Column[int]:
    """The order in which events were recorded."""
    return sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True)


shards = sa.Table(
    "shards",
    metadata,
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("input_digest", sa.String(128), nullable=False, unique=True),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("index_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("shard", sa.String(160), sa.ForeignKey("shards.name"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(80), nullable=False, index=True),
    sa.Column("scene", sa.String(160), nullable=False),
    sa.Column("split", sa.String(16), nullable=False),
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
)

pool_draws = sa.Table(
    "pool_draws",
    metadata,
    _sequence(),
    sa.Column("item", sa.String(80), nullable=False, unique=True),
    sa.Column("phase", sa.String(160), nullable=False, index=True),
    sa.Column("drawn_at", UtcTime, nullable=False),
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("event", sa.String(64), primary_key=True),
    sa.Column("candidate", sa.String(80), nullable=False, index=True),
    sa.Column("decision", sa.String(8), nullable=False),
    sa.Column("reviewer", sa.String(160), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("answered_at", UtcTime, nullable=False),
)

scores = sa.Table(
    "scores",
    metadata,
    sa.Column("judge", sa.String(64), primary_key=True),
    sa.Column("candidate", sa.String(80), primary_key=True),
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
)

phases = sa.Table(
    "phases",
    metadata,
    _sequence(),
    sa.Column("run", sa.String(160), nullable=False),
    sa.Column("name", sa.String(160), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    sa.UniqueConstraint("run", "name"),
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
