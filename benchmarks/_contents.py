"""List everything in a workspace for comparison with another one, without times and folder names."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from data_specs.ledger import UtcTime, metadata
from tasks.storage.workspace import Workspace

Contents = dict[str, Counter[str]]
"""Rows of each table of the ledger as text, and the files with their sha256, each with its count."""

_TIMES = {"seconds", "created_at", "wall", "cpu", "gpu"}
"""Fields that may differ between two equal runs, anywhere in a row's JSON."""


def contents_of(workspace: Workspace) -> Contents:
    """The ledger's rows, and every file that a row names or should name."""
    engine = sa.create_engine(workspace.ledger_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = {name: _rows(connection, table) for name, table in metadata.tables.items()}
    kinds = {"tars": "shards/*.tar", "indexes": "shards/*.parquet", "version lists": "versions/*.parquet"}
    kinds |= {"sample grids": "reports/samples/*.png", "weights": "models/*/**/*.safetensors"}
    kinds["model cards"] = "models/*/model-card.json"
    for kind, pattern in kinds.items():
        paths = [path for path in workspace.root.glob(pattern) if not is_left_over(path, workspace)]
        found[kind] = Counter(f"{path.relative_to(workspace.root)} {_sha256(path)}" for path in paths)
    return found


def left_overs(workspace: Workspace) -> list[str]:
    """Temporary files and folders, and checkpoints: a finished run should not leave any."""
    paths = [path for folder in workspace.root.iterdir() if folder.is_dir() for path in folder.iterdir()]
    return sorted(path.name for path in paths if is_left_over(path, workspace))


def is_left_over(path: Path, workspace: Workspace) -> bool:
    """Whether the path, or a folder above it, is temporary or a checkpoint."""
    parts = path.relative_to(workspace.root).parts
    return any(".aside" in part or ".checkpoint." in part for part in parts)


def differences(before: Contents, after: Contents) -> tuple[list[str], list[str]]:
    """What ``after`` lacks, and what it has in addition. A changed row or file is both."""
    lost = [f"{kind}: {row}" for kind, rows in before.items() for row in (rows - after[kind]).elements()]
    more = [f"{kind}: {row}" for kind, rows in after.items() for row in (rows - before[kind]).elements()]
    return sorted(lost), sorted(more)


def _rows(connection: sa.Connection, table: sa.Table) -> Counter[str]:
    """Rows without times. Rows of an event table carry their position in its order."""
    ordered = "sequence" in table.c
    columns = [c for c in table.c if not isinstance(c.type, UtcTime) and c.name != "sequence"]
    query = sa.select(*columns).order_by(table.c.sequence if ordered else sa.text("1"))
    rows = [_timeless(dict(row)) for row in connection.execute(query).mappings()]
    return Counter(
        json.dumps([place if ordered else None, row], sort_keys=True) for place, row in enumerate(rows)
    )


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in _TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
