"""Indexes for every question whose cost grew with the ledger, and trainings' losses thinned."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
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
TRAINED = (
    "phase",
    "retraining",
    "remover_training",
    "discriminator_training",
    "object_clear_training",
    "discriminator",
)
"""Kinds of results with losses, their own or those of what was ``trained``."""
POINTS = 200

results = sa.table(
    "results",
    sa.column("sequence", sa.Integer),
    sa.column("kind", sa.String),
    sa.column("payload", sa.JSON),
)


def upgrade() -> None:
    for table, name, columns in INDEXES:
        op.create_index(f"ix_{table}_{name}", table, list(columns))
    op.drop_index("ix_reviews_candidate", "reviews")
    op.create_index("ix_reviews_candidate", "reviews", ["candidate", "batch"])
    _change_losses(_thinned)


def downgrade() -> None:
    _change_losses(_as_list)
    for table, name, _ in INDEXES:
        op.drop_index(f"ix_{table}_{name}", table)
    op.drop_index("ix_reviews_candidate", "reviews")
    op.create_index("ix_reviews_candidate", "reviews", ["candidate"])


def _change_losses(change: Callable[[Any], Any]) -> None:
    """Change the losses of every result that has some, one result at a time: old ones are long."""
    connection, last = op.get_bind(), 0
    query = sa.select(results).where(results.c.kind.in_(TRAINED)).order_by(results.c.sequence).limit(1)
    while True:
        row = connection.execute(query.where(results.c.sequence > last)).first()
        if row is None:
            return
        last = row.sequence
        for facts in (row.payload, row.payload.get("trained")):
            if isinstance(facts, dict) and "losses" in facts:
                facts["losses"] = change(facts["losses"])
        connection.execute(sa.update(results).where(results.c.sequence == last).values(payload=row.payload))


def _thinned(losses: list[float]) -> dict[str, Any]:
    """Means over equal stretches."""
    stretch = max(1, -(-len(losses) // POINTS))
    parts = [losses[start : start + stretch] for start in range(0, len(losses), stretch)]
    return {"stretch": stretch, "means": [sum(part) / len(part) for part in parts]}


def _as_list(losses: dict[str, Any]) -> list[float]:
    return losses["means"]
