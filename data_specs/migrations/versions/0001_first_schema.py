"""The first schema: shards, samples, rejects, draws, reviews, scores, models, phases, versions."""

import sqlalchemy as sa
from alembic import op

from data_specs.migrations.triggers import append_only, drop_append_only

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = {
    "reviews": ("event",),
    "promotions": ("event", "sequence"),
    "version_events": ("event", "sequence"),
}


def upgrade() -> None:
    _create_data()
    _create_people()
    _create_records()
    dialect = op.get_bind().dialect.name
    for table, unique in APPEND_ONLY.items():
        for statement in append_only(table, unique, dialect):
            op.execute(statement)


def downgrade() -> None:
    dialect = op.get_bind().dialect.name
    for table in APPEND_ONLY:
        for statement in drop_append_only(table, dialect):
            op.execute(statement)
    for table in (
        "version_events",
        "samples",
        "promotions",
        "versions",
        "shards",
        "scores",
        "reviews",
        "rejects",
        "pool_draws",
        "phases",
        "models",
    ):
        op.drop_table(table)


def _create_data() -> None:
    """Create the tables of shards, samples and rejects."""
    op.create_table(
        "rejects",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("reason", sa.String(80), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rejects"),
    )
    op.create_index("ix_rejects_reason", "rejects", ["reason"])
    op.create_table(
        "shards",
        sa.Column("name", sa.String(160), nullable=False),
        sa.Column("input_digest", sa.String(128), nullable=False),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("index_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_shards"),
        sa.UniqueConstraint("input_digest", name="uq_shards_input_digest"),
    )
    op.create_table(
        "samples",
        sa.Column("shard", sa.String(160), nullable=False),
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("scene", sa.String(160), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("shard", "position", name="pk_samples"),
        sa.ForeignKeyConstraint(["shard"], ["shards.name"], name="fk_samples_shard"),
    )
    op.create_index("ix_samples_key", "samples", ["key"])


def _create_people() -> None:
    """Create the tables of draws, reviews and scores."""
    op.create_table(
        "pool_draws",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("item", sa.String(80), nullable=False),
        sa.Column("phase", sa.String(160), nullable=False),
        sa.Column("drawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_pool_draws"),
        sa.UniqueConstraint("item", name="uq_pool_draws_item"),
    )
    op.create_index("ix_pool_draws_phase", "pool_draws", ["phase"])
    op.create_table(
        "reviews",
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("candidate", sa.String(80), nullable=False),
        sa.Column("decision", sa.String(8), nullable=False),
        sa.Column("reviewer", sa.String(160), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event", name="pk_reviews"),
    )
    op.create_index("ix_reviews_candidate", "reviews", ["candidate"])
    op.create_table(
        "scores",
        sa.Column("judge", sa.String(64), nullable=False),
        sa.Column("candidate", sa.String(80), nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("judge", "candidate", name="pk_scores"),
    )


def _create_records() -> None:
    """Create the tables of models, phases and versions."""
    op.create_table(
        "models",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("parent", sa.String(64), nullable=True),
        sa.Column("dataset_version", sa.Integer, nullable=True),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_models"),
    )
    op.create_table(
        "phases",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("run", sa.String(160), nullable=False),
        sa.Column("name", sa.String(160), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_phases"),
        sa.UniqueConstraint("run", "name", name="uq_phases_run"),
    )
    op.create_table(
        "versions",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_versions"),
    )
    op.create_table(
        "promotions",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("event", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_promotions"),
        sa.UniqueConstraint("event", name="uq_promotions_event"),
        sa.ForeignKeyConstraint(["hash"], ["models.hash"], name="fk_promotions_hash"),
    )
    op.create_table(
        "version_events",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("event", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_version_events"),
        sa.ForeignKeyConstraint(["number"], ["versions.number"], name="fk_version_events_number"),
        sa.UniqueConstraint("event", name="uq_version_events_event"),
    )
