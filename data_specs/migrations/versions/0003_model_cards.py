"""Model cards (settings, checksums of weights, git revision), measurements of models, and rollbacks."""

import sqlalchemy as sa
from alembic import op

from data_specs.migrations.triggers import append_only, drop_append_only

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE, UNIQUE = "model_measurements", ("event", "sequence")


def upgrade() -> None:
    op.add_column("models", sa.Column("settings", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("models", sa.Column("weights", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("models", sa.Column("git_revision", sa.String(80), nullable=False, server_default=""))
    op.add_column("promotions", sa.Column("action", sa.String(16), nullable=False, server_default="promoted"))
    op.create_table(
        TABLE,
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("event", sa.String(20), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("measured_on", sa.Text, nullable=False),
        sa.Column("dataset_version", sa.Integer, nullable=True),
        sa.Column("values", sa.JSON, nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_model_measurements"),
        sa.UniqueConstraint("event", name="uq_model_measurements_event"),
        sa.ForeignKeyConstraint(["hash"], ["models.hash"], name="fk_model_measurements_hash"),
    )
    op.create_index("ix_model_measurements_hash", TABLE, ["hash"])
    for statement in append_only(TABLE, UNIQUE, op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    for statement in drop_append_only(TABLE, op.get_bind().dialect.name):
        op.execute(statement)
    op.drop_table(TABLE)
    op.drop_column("promotions", "action")
    for column in ("git_revision", "weights", "settings"):
        op.drop_column("models", column)
