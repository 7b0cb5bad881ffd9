"""Where a shard's two files lie."""

from pathlib import Path

from data_specs.shard import ShardRef
from tasks.workspace import Workspace


def tar_path(workspace: Workspace, name: str) -> Path:
    """The shard's tar."""
    return workspace.shards_dir / f"{name}.tar"


def index_path(workspace: Workspace, name: str) -> Path:
    """The shard's index."""
    return workspace.shards_dir / f"{name}.parquet"


def files_present(workspace: Workspace, ref: ShardRef) -> bool:
    """True when the tar has its size and the index is there; `verify` reads the bytes."""
    try:
        return tar_path(workspace, ref.name).stat().st_size == ref.size_bytes and (
            index_path(workspace, ref.name).stat().st_size > 0
        )
    except FileNotFoundError:
        return False
