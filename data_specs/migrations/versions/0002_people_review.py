"""Human review: people, sessions, batches, items, leases and undos, and new columns of the reviews."""

import sqlalchemy as sa
from alembic import op

from data_specs.migrations.triggers import append_only, drop_append_only

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

APPEND_ONLY = {
    "person_events": ("event", "sequence"),
    "batch_events": ("event", "sequence"),
    "review_undos": ("event", "review"),
}


def upgrade() -> None:
    op.add_column("reviews", sa.Column("batch", sa.String(80), nullable=True))
    op.add_column("reviews", sa.Column("seconds", sa.Double, nullable=True))
    op.add_column("reviews", sa.Column("page_version", sa.String(32), nullable=True))
    op.create_index("ix_reviews_batch", "reviews", ["batch", "reviewer"])
    _create_people()
    _create_batches()
    _create_leases()
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
        "review_undos",
        "leases",
        "review_items",
        "batch_events",
        "review_batches",
        "review_sessions",
        "person_events",
        "people",
    ):
        op.drop_table(table)
    op.drop_index("ix_reviews_batch", "reviews")
    for column in ("page_version", "seconds", "batch"):
        op.drop_column("reviews", column)


def _create_people() -> None:
    """Create the tables of people and their sessions."""
    op.create_table(
        "people",
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("excluded", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_people"),
        sa.UniqueConstraint("token_hash", name="uq_people_token_hash"),
    )
    op.create_table(
        "person_events",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("event", sa.String(20), nullable=False),
        sa.Column("person", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_person_events"),
        sa.UniqueConstraint("event", name="uq_person_events_event"),
        sa.ForeignKeyConstraint(["person"], ["people.name"], name="fk_person_events_person"),
    )
    op.create_index("ix_person_events_person", "person_events", ["person"])
    op.create_table(
        "review_sessions",
        sa.Column("session_hash", sa.String(64), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name="pk_review_sessions"),
    )


def _create_batches() -> None:
    """Create the tables of batches and their items."""
    op.create_table(
        "review_batches",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("policy", sa.JSON, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_review_batches"),
        sa.UniqueConstraint("name", name="uq_review_batches_name"),
    )
    op.create_table(
        "batch_events",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("event", sa.String(20), nullable=False),
        sa.Column("batch", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_batch_events"),
        sa.UniqueConstraint("event", name="uq_batch_events_event"),
        sa.ForeignKeyConstraint(["batch"], ["review_batches.name"], name="fk_batch_events_batch"),
    )
    op.create_index("ix_batch_events_batch", "batch_events", ["batch"])
    op.create_table(
        "review_items",
        sa.Column("batch", sa.String(80), nullable=False),
        sa.Column("candidate", sa.String(80), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("answers_wanted", sa.Integer, nullable=False),
        sa.Column("gold", sa.String(8), nullable=True),
        sa.Column("answers_left", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("batch", "candidate", name="pk_review_items"),
        sa.UniqueConstraint("batch", "position", name="uq_review_items_batch"),
        sa.ForeignKeyConstraint(["batch"], ["review_batches.name"], name="fk_review_items_batch"),
    )
    op.create_index("ix_review_items_candidate", "review_items", ["candidate"])
    waiting = sa.text("answers_left > 0")
    op.create_index(
        "ix_review_items_waiting",
        "review_items",
        ["batch", "position"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def _create_leases() -> None:
    """Create the tables of leases and undos."""
    op.create_table(
        "leases",
        sa.Column("lease", sa.String(20), nullable=False),
        sa.Column("batch", sa.String(80), nullable=False),
        sa.Column("candidate", sa.String(80), nullable=False),
        sa.Column("person", sa.String(80), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("lease", name="pk_leases"),
        sa.ForeignKeyConstraint(["person"], ["people.name"], name="fk_leases_person"),
        sa.ForeignKeyConstraint(
            ["batch", "candidate"], ["review_items.batch", "review_items.candidate"], name="fk_leases_batch"
        ),
    )
    op.create_index("ix_leases_item", "leases", ["batch", "candidate", "person"])
    live = sa.text("state = 'live'")
    op.create_index("ix_leases_live", "leases", ["batch", "person"], sqlite_where=live, postgresql_where=live)
    once = sa.text("state IN ('live', 'answered')")
    op.create_index(
        "uq_leases_once",
        "leases",
        ["batch", "candidate", "person"],
        unique=True,
        sqlite_where=once,
        postgresql_where=once,
    )
    op.create_table(
        "review_undos",
        sa.Column("event", sa.String(20), nullable=False),
        sa.Column("review", sa.String(64), nullable=False),
        sa.Column("person", sa.String(80), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event", name="pk_review_undos"),
        sa.UniqueConstraint("review", name="uq_review_undos_review"),
        sa.ForeignKeyConstraint(["review"], ["reviews.event"], name="fk_review_undos_review"),
    )
