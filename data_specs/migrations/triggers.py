"""Make a table append-only with triggers.

SQLite's ``INSERT OR REPLACE`` deletes without calling DELETE triggers, so SQLite needs a third trigger.
PostgreSQL's ``TRUNCATE`` skips row triggers, so PostgreSQL needs a statement trigger.
"""


def append_only(table: str, unique: tuple[str, ...], dialect: str) -> list[str]:
    """The statements that make ``table`` refuse UPDATE and DELETE.

    Args:
        table: Name of the table.
        unique: Its unique columns. On SQLite a second INSERT of the same value is ignored.
        dialect: ``sqlite`` or ``postgresql``.
    """
    if dialect == "sqlite":
        return _sqlite(table, unique)
    return _postgresql(table)


def drop_append_only(table: str, dialect: str) -> list[str]:
    """The statements that undo `append_only`."""
    if dialect == "sqlite":
        return [f"DROP TRIGGER {table}_no_{verb}" for verb in ("update", "delete", "replace")]
    return [
        f"DROP TRIGGER {table}_append_only ON {table}",
        f"DROP TRIGGER {table}_no_truncate ON {table}",
        f"DROP FUNCTION {table}_refuse()",
    ]


def _sqlite(table: str, unique: tuple[str, ...]) -> list[str]:
    refusals = [
        f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for verb in ("update", "delete")
    ]
    same = " OR ".join(f"{column} = NEW.{column}" for column in unique)
    replace = (
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
        "BEGIN SELECT RAISE(IGNORE); END"
    )
    return [*refusals, replace]


def _postgresql(table: str) -> list[str]:
    return [
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$",
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()",
    ]
