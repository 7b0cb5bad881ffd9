"""Write a shard exactly once.

The order: write a temporary file, fsync, copy into the store, rename, fsync the folder. The ledger's row
comes last, as the commit. (In a bucket's cache the row comes before the rename.) A writer that is killed
leaves nothing that counts, and the same work writes the same bytes over it.
"""

import fcntl
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data_specs.errors import ShardError
from data_specs.keys import derive_key
from data_specs.reject import Reject
from data_specs.shard import EncodedSample, Purpose, SampleRow, ShardRef, Stage
from tasks.storage.atomic_files import aside_path, sync_file, sync_folder, written_aside
from tasks.storage.ledger import Ledger
from tasks.storage.object_store import stored_at
from tasks.storage.shards.tar import TarWriter, index_bytes
from tasks.storage.workspace import Workspace

# One publisher at a time in a workspace.

LOCK = ".publish.lock"
"""The lock's file name, in the shards' folder."""


@contextmanager
def publishing_alone(workspace: Workspace) -> Iterator[None]:
    """Held for a few milliseconds, while files get their names and the ledger its row.

    Without it, a slower process could rename other bytes to the name of a committed row. `verify` could also
    take a shard that is being committed for an orphan. The kernel releases the lock when the holder dies.
    """
    with (workspace.shards_dir / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# The paths of a shard's two files, in the workspace and in the store.


def tar_path(workspace: Workspace, name: str) -> Path:
    """The path of the shard's tar."""
    return workspace.shards_dir / f"{name}.tar"


def index_path(workspace: Workspace, name: str) -> Path:
    """The path of the shard's index."""
    return workspace.shards_dir / f"{name}.parquet"


def tar_file(ref: ShardRef) -> tuple[str, str]:
    """The tar's path in the workspace, and its SHA-256."""
    return f"shards/{ref.name}.tar", ref.sha256


def index_file(ref: ShardRef) -> tuple[str, str]:
    """The index's path in the workspace, and its SHA-256."""
    return f"shards/{ref.name}.parquet", ref.index_sha256


def files_present(workspace: Workspace, ref: ShardRef) -> bool:
    """True if the tar has its size and the index exists. `verify` reads the bytes."""
    store = workspace.store
    return store.size_of(*tar_file(ref)) == ref.size_bytes and bool(store.size_of(*index_file(ref)))


_AHEAD = 16
"""Number of samples that may wait for the disk while the next one is encoded."""
_SYNC_BYTES = 16_000_000


def write_shard(
    workspace: Workspace,
    *,
    stage: Stage,
    round: int,
    index: int,
    input_digest: str,
    samples: Iterable[EncodedSample],
    rejects: Sequence[Reject] = (),
    purpose: Purpose | None = None,
) -> ShardRef:
    """Write one shard and record it in the ledger. Nothing is done if the ledger has this work.

    Args:
        workspace: The workspace to write to.
        stage: The stage of its samples.
        round: The number of its round, from 0.
        index: Its number within stage, round and purpose, from 0.
        input_digest: The digest of everything the samples were computed from.
        samples: In their order. A generator is best: a thread then hashes and writes beside the encoding, and
            only a few samples are in memory.
        rejects: The rejects of the work; recorded with the shard.
        purpose: What candidates and grown samples are of. None for other stages.

    Returns:
        The ledger's shard for this work. A shard with the same bytes is it too, whatever its index.

    Raises:
        ShardError: If a key comes twice, or other content exists under the name.
        LedgerError: If the ledger cannot be written.
        StoreError: If the store does not accept it.
    """
    present = finished_shard(workspace, input_digest)
    if present is not None:
        return present
    ledger = workspace.ledger()
    aside = aside_path(workspace.shards_dir / f"{round:03d}-{stage}-{index:05d}")
    try:
        tar, sha256 = _write_tar(aside, samples)
        index_data = index_bytes(tar.index)
        ref = ShardRef(
            name=_shard_name(stage, round, index, tar.rows),
            stage=stage,
            round=round,
            purpose=purpose,
            index=index,
            samples=len(tar.rows),
            size_bytes=tar.size_bytes,
            sha256=sha256,
            index_sha256=hashlib.sha256(index_data).hexdigest(),
            input_digest=input_digest,
        )
        ref = _numbered_otherwise(ledger, ref, tar.rows) or ref
        with written_aside(index_path(workspace, ref.name), index_data) as index_aside:
            workspace.store.keep(aside, *tar_file(ref))
            workspace.store.keep(index_aside, *index_file(ref))
            return _publish(workspace, ledger, ref, aside, index_aside, tar.rows, rejects)
    finally:
        aside.unlink(missing_ok=True)


def finished_shard(workspace: Workspace, input_digest: str) -> ShardRef | None:
    """The shard of this work. None unless the ledger has it and its files exist."""
    present = workspace.ledger().shards.find(input_digest)
    return present if present is not None and files_present(workspace, present) else None


def _write_tar(aside: Path, samples: Iterable[EncodedSample]) -> tuple[TarWriter, str]:
    """Fill the temporary file. Hashing and writing run beside the generator of the samples."""
    with aside.open("xb") as file, ThreadPoolExecutor(1, "shard") as thread:
        tar = TarWriter(file)
        waiting: deque[Future[None]] = deque()
        for sample in samples:
            waiting.append(thread.submit(_add, tar, file, sample))
            if len(waiting) > _AHEAD:
                waiting.popleft().result()
        for future in waiting:
            future.result()
        sha256 = tar.finish()
        file.flush()
        sync_file(file.fileno())
    return tar, sha256


def _add(tar: TarWriter, file: BinaryIO, sample: EncodedSample) -> None:
    """Append a sample, and sometimes wait for the disk, so that the last wait is short."""
    before = tar.size_bytes // _SYNC_BYTES
    tar.add(sample)
    if tar.size_bytes // _SYNC_BYTES > before:
        file.flush()
        sync_file(file.fileno())


def _shard_name(stage: Stage, round: int, index: int, rows: Sequence[SampleRow]) -> str:
    return f"{round:03d}-{stage}-{index:05d}-{derive_key('shard', *(row.key for row in rows))}"


def _numbered_otherwise(ledger: Ledger, ref: ShardRef, rows: Sequence[SampleRow]) -> ShardRef | None:
    """The shard with the same bytes under another index. Older workspaces have such: they counted from 1000.

    Without it, a phase that an older version began would hold its candidates twice.
    """
    return ledger.shards.find_equal(ref, rows[0].key) if rows else None


def _publish(
    workspace: Workspace,
    ledger: Ledger,
    ref: ShardRef,
    aside: Path,
    index_aside: Path,
    rows: Sequence[SampleRow],
    rejects: Sequence[Reject],
) -> ShardRef:
    """Give the files their names and the ledger its row, unless another process was faster."""
    with publishing_alone(workspace):
        present = ledger.shards.find(ref.input_digest) or ledger.shards.find_named(ref.name)
        if present is not None and files_present(workspace, present):
            return _same_contents(present, ref)
        if present is not None:
            _same_bytes(present, ref)
        if stored_at(workspace.root) is None:
            _name(workspace, ref, aside, index_aside)
            return present or ledger.shards.commit(ref, rows, rejects)
        # In a cache the row comes first. If another machine was faster, its bytes count, and a file renamed
        # here by a process that was then killed would hide them.
        committed = present or ledger.shards.commit(ref, rows, rejects)
        if committed.sha256 == ref.sha256:
            _name(workspace, ref, aside, index_aside)
        return committed


def _name(workspace: Workspace, ref: ShardRef, aside: Path, index_aside: Path) -> None:
    for path, file in (
        (aside, tar_path(workspace, ref.name)),
        (index_aside, index_path(workspace, ref.name)),
    ):
        try:
            path.rename(file)
        except IsADirectoryError as error:
            raise ShardError(f"{file}: a folder has the name of a shard's file; move it away") from error
    sync_folder(workspace.shards_dir)


def _same_contents(present: ShardRef, ref: ShardRef) -> ShardRef:
    """``present``, which another process committed for the same work, or which holds the same bytes."""
    if present.input_digest != ref.input_digest and present.sha256 != ref.sha256:
        raise ShardError(
            f"shard {ref.name} already holds these samples with other contents; "
            "use a new workspace, or another round, for the changed settings"
        )
    return present


def _same_bytes(present: ShardRef, ref: ShardRef) -> None:
    """Refuse to repair a shard whose files are missing or truncated with anything but its own bytes."""
    if (present.name, present.sha256, present.index_sha256) != (ref.name, ref.sha256, ref.index_sha256):
        raise ShardError(
            f"the files of shard {present.name} are missing, and its work now gives other bytes; "
            "restore them from a backup"
        )
