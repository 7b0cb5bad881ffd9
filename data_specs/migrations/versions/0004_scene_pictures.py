"""Perceptual hashes of images. Nearly equal images are found and share a scene."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = "scene_pictures"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("picture", sa.String(20), nullable=False),
        sa.Column("scene", sa.String(160), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("lineage", sa.String(20), nullable=True),
        sa.Column("hash", sa.BigInteger, nullable=False),
        sa.Column("thumbnail", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_scene_pictures"),
        sa.UniqueConstraint("picture", name="uq_scene_pictures_picture"),
    )
    op.create_index("ix_scene_pictures_lineage", TABLE, ["lineage"])


def downgrade() -> None:
    op.drop_table(TABLE)
