"""Indexes for every question whose cost grew with the ledger."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INDEXES = (
    ("shards", "created_at", ("created_at",)),
    ("shards", "stage", ("stage", "round")),
    ("rejects", "recorded_at", ("recorded_at", "reason")),
    ("pool_draws", "purpose", ("purpose", "item")),
    ("reviews", "answered_at", ("answered_at",)),
    ("scores", "candidate", ("candidate",)),
    ("results", "kind", ("kind", "sequence")),
    ("results", "recorded_at", ("kind", "recorded_at")),
    ("costs", "recorded_at", ("recorded_at",)),
)
"""Table, name and columns of the new ones."""


def upgrade() -> None:
    for table, name, columns in INDEXES:
        op.create_index(f"ix_{table}_{name}", table, list(columns))
    op.drop_index("ix_reviews_candidate", "reviews")
    op.create_index("ix_reviews_candidate", "reviews", ["candidate", "batch"])


def downgrade() -> None:
    for table, name, _ in INDEXES:
        op.drop_index(f"ix_{table}_{name}", table)
    op.drop_index("ix_reviews_candidate", "reviews")
    op.create_index("ix_reviews_candidate", "reviews", ["candidate"])
