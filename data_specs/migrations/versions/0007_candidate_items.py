"""The pool item of each candidate, so that no shard is read to learn it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Older rows keep NULL: the item stands in their shards, which a migration cannot reach.
    op.add_column("samples", sa.Column("item", sa.String(80), nullable=True))


def downgrade() -> None:
    op.drop_column("samples", "item")
