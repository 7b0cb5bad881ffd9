"""The counts of review batches, places in their queues, and indexes that need no walk of a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ITEMS = ("items", "answers_wanted", "answers_left", "complete")
_ANSWERS = ("answers", "yes", "no", "skipped", "gold_answers", "gold_right")

_FILL_ITEMS = """
INSERT INTO batch_counts (batch, items, answers_wanted, answers_left, complete)
SELECT b.name, COUNT(i.candidate), COALESCE(SUM(i.answers_wanted), 0), COALESCE(SUM(i.answers_left), 0),
       SUM(CASE WHEN i.answers_left = 0 THEN 1 ELSE 0 END)
FROM review_batches b LEFT JOIN review_items i ON i.batch = b.name
GROUP BY b.name
"""
_FILL_ANSWERS = """
INSERT INTO answer_counts (batch, kind, reviewer, answers, yes, no, skipped, gold_answers, gold_right)
SELECT r.batch, r.kind, r.reviewer, COUNT(*),
       SUM(CASE WHEN i.gold IS NULL AND r.decision = 'yes' THEN 1 ELSE 0 END),
       SUM(CASE WHEN i.gold IS NULL AND r.decision = 'no' THEN 1 ELSE 0 END),
       SUM(CASE WHEN i.gold IS NULL AND r.decision = 'skip' THEN 1 ELSE 0 END),
       SUM(CASE WHEN i.gold IS NOT NULL AND r.decision <> 'skip' THEN 1 ELSE 0 END),
       SUM(CASE WHEN i.gold = r.decision THEN 1 ELSE 0 END)
FROM reviews r JOIN review_items i ON i.batch = r.batch AND i.candidate = r.candidate
WHERE NOT EXISTS (SELECT 1 FROM review_undos u WHERE u.review = r.event)
GROUP BY r.batch, r.kind, r.reviewer
"""


def upgrade() -> None:
    op.drop_index("ix_reviews_batch", "reviews")
    op.create_index("ix_reviews_batch", "reviews", ["batch", "reviewer", "answered_at", "event"])
    op.create_table(
        "batch_counts",
        sa.Column("batch", sa.String(80), nullable=False),
        *_integers(_ITEMS),
        sa.PrimaryKeyConstraint("batch", name="pk_batch_counts"),
    )
    op.create_table(
        "answer_counts",
        sa.Column("batch", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reviewer", sa.String(160), nullable=False),
        *_integers(_ANSWERS),
        sa.PrimaryKeyConstraint("batch", "kind", "reviewer", name="pk_answer_counts"),
    )
    op.create_table(
        "queue_places",
        sa.Column("batch", sa.String(80), nullable=False),
        sa.Column("person", sa.String(80), nullable=False),
        *_integers(("position",)),
        sa.PrimaryKeyConstraint("batch", "person", name="pk_queue_places"),
    )
    op.create_table(
        "recounts",
        sa.Column("batch", sa.String(80), nullable=False),
        sa.Column("person", sa.String(80), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("event", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("batch", "person", name="pk_recounts"),
    )
    op.execute(_FILL_ITEMS)
    op.execute(_FILL_ANSWERS)


def downgrade() -> None:
    for table in ("recounts", "queue_places", "answer_counts", "batch_counts"):
        op.drop_table(table)
    op.drop_index("ix_reviews_batch", "reviews")
    op.create_index("ix_reviews_batch", "reviews", ["batch", "reviewer"])


def _integers(names: tuple[str, ...]) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]
