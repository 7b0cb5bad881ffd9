"""Where a shard's two files lie, and what a store is told of them."""

from pathlib import Path

from data_specs.shard import ShardRef
from tasks.storage.workspace import Workspace


def tar_path(workspace: Workspace, name: str) -> Path:
    """The shard's tar."""
    return workspace.shards_dir / f"{name}.tar"


def index_path(workspace: Workspace, name: str) -> Path:
    """The shard's index."""
    return workspace.shards_dir / f"{name}.parquet"


def tar_file(ref: ShardRef) -> tuple[str, str]:
    """The tar's path in the workspace, and its sha256."""
    return f"shards/{ref.name}.tar", ref.sha256


def index_file(ref: ShardRef) -> tuple[str, str]:
    """The index's path in the workspace, and its sha256."""
    return f"shards/{ref.name}.parquet", ref.index_sha256


def files_present(workspace: Workspace, ref: ShardRef) -> bool:
    """True when the tar has its size and the index is there; `verify` reads the bytes."""
    store = workspace.store
    return store.size_of(*tar_file(ref)) == ref.size_bytes and bool(store.size_of(*index_file(ref)))
