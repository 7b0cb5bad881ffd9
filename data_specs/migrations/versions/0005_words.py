"""The ledger renames tables, kinds and keys to the words of version 5 of its schema."""

import sqlalchemy as sa
from alembic import op

from data_specs.migrations.triggers import append_only, drop_append_only

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OLD, NEW = "scene_pictures", "scene_images"
COLUMNS = "scene, split, lineage, hash, thumbnail"
PROMOTIONS, UNIQUE = "promotions", ("event", "sequence")


def upgrade() -> None:
    _move_scenes(OLD, "picture", NEW, "image")
    _rename("judge", "discriminator", "picture", "image")


def downgrade() -> None:
    _rename("discriminator", "judge", "image", "picture")
    _move_scenes(NEW, "image", OLD, "picture")


def _move_scenes(table: str, column: str, new_table: str, new_column: str) -> None:
    """Copy the table in the same order, because SQLite cannot rename a constraint."""
    op.create_table(
        new_table,
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column(new_column, sa.String(20), nullable=False),
        sa.Column("scene", sa.String(160), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("lineage", sa.String(20), nullable=True),
        sa.Column("hash", sa.BigInteger, nullable=False),
        sa.Column("thumbnail", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=f"pk_{new_table}"),
        sa.UniqueConstraint(new_column, name=f"uq_{new_table}_{new_column}"),
    )
    op.execute(
        f"INSERT INTO {new_table} ({new_column}, {COLUMNS}) "
        f"SELECT {column}, {COLUMNS} FROM {table} ORDER BY sequence"
    )
    op.drop_table(table)
    op.create_index(f"ix_{new_table}_lineage", new_table, ["lineage"])


def _rename(kind: str, new_kind: str, word: str, new_word: str) -> None:
    """Rename kinds of models, reasons of rejects, and the outermost keys of the phases' results."""
    connection = op.get_bind()
    dialect = connection.dialect.name
    for statement in drop_append_only(PROMOTIONS, dialect):
        op.execute(statement)
    for table in ("models", PROMOTIONS):
        op.execute(f"UPDATE {table} SET kind = '{new_kind}' WHERE kind = '{kind}'")
    for statement in append_only(PROMOTIONS, UNIQUE, dialect):
        op.execute(statement)
    op.execute(f"UPDATE rejects SET reason = replace(reason, '{word}', '{new_word}')")
    phases = sa.table("phases", sa.column("sequence", sa.Integer), sa.column("payload", sa.JSON))
    for sequence, facts in connection.execute(sa.select(phases)).all():
        if kind in facts:
            facts[new_kind] = facts.pop(kind)
            connection.execute(sa.update(phases).where(phases.c.sequence == sequence).values(payload=facts))
