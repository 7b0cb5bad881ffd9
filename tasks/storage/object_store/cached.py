"""Keep files in a bucket, with the workspace's folder as a cache.

An object's name contains its bytes' digest: ``shards/NAME.DIGEST.tar``. Two machines whose work is not
bit-exact therefore never overwrite each other. The ledger's row says whose bytes count. A folder is kept as
its files and, last, a list of them at a fixed name, which is created only if there is none.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_specs.errors import StoreError
from tasks.storage.atomic_files import (
    SUFFIX,
    aside_path,
    file_sha256,
    is_abandoned,
    publish,
    sync_folder,
    write_durably,
)
from tasks.storage.object_store.s3 import Bucket

# The local folder as a cache: it has a size limit. The files unused for longest go first, files in use stay.
#
# A reader lists its files in a file under ``held/`` while it uses them. That file is named after the process,
# like a temporary file, so the files of killed processes are released.

_FILES = ("shards/*.tar", "shards/*.parquet")
_TREES = "models/*/"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or a folder that may be removed. ``used_ns`` is the time of its last use."""

    path: str
    size_bytes: int
    used_ns: int


class Cache:
    """The files of a remote store's workspace that are here. Checkpoints and reports are not part of it.

    Files in use stay even if they alone exceed the limit.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self._held = root / "held"

    def hold(self, paths: Sequence[str]) -> "Hold":
        """Mark files or folders as in use from now on, whether they are here yet or not."""
        with self._alone():
            hold = Hold(aside_path(self._held / "hold"), paths)
            for path in paths:
                if (self._root / path).exists():
                    os.utime(self._root / path)
            return hold

    def make_room(self, wanted_bytes: int) -> list[str]:
        """Remove what was unused for longest, until this number of bytes more fits under the limit.

        Returns:
            The removed paths.
        """
        removed: list[str] = []
        with self._alone():
            entries = self._entries()
            excess = sum(entry.size_bytes for entry in entries) + wanted_bytes - self._limit_bytes
            if excess <= 0:
                return removed
            in_use = self._in_use()
            for entry in sorted(entries, key=lambda entry: entry.used_ns):
                if excess > 0 and entry.path not in in_use:
                    self._remove(entry.path)
                    removed.append(entry.path)
                    excess -= entry.size_bytes
        return removed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time checks what is in use. The kernel releases the lock when it dies."""
        self._held.mkdir(parents=True, exist_ok=True)
        with (self._root / ".cache.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _entries(self) -> list[_Entry]:
        files = [path for pattern in _FILES for path in self._root.glob(pattern)]
        trees = [path for path in self._root.glob(_TREES) if path.suffix != SUFFIX]
        entries: list[_Entry] = []
        for path in (*files, *trees):
            with suppress(FileNotFoundError):  # Its own process may remove it at any moment.
                entries.append(self._entry(path))
        return entries

    def _entry(self, path: Path) -> _Entry:
        inside = path.rglob("*") if path.is_dir() else [path]
        size_bytes = sum(file.stat().st_size for file in inside if file.is_file())
        return _Entry(path.relative_to(self._root).as_posix(), size_bytes, path.stat().st_mtime_ns)

    def _in_use(self) -> set[str]:
        in_use: set[str] = set()
        for hold in self._held.iterdir():
            if is_abandoned(hold):
                hold.unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):  # A process that releases its files does not take the lock.
                    in_use.update(hold.read_text().splitlines())
        return in_use

    def _remove(self, path: str) -> None:
        if not (self._root / path).is_dir():
            (self._root / path).unlink(missing_ok=True)
            return
        # Renamed first: nobody must find half a model.
        aside = aside_path(self._root / path)
        (self._root / path).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


class Hold:
    """The paths that one process uses."""

    def __init__(self, file: Path, paths: Sequence[str]) -> None:
        self._file, self._process = file, os.getpid()
        file.write_text("".join(f"{path}\n" for path in paths))

    def close(self) -> None:
        """Release the paths. A forked child's copy releases nothing."""
        if os.getpid() == self._process:
            self._file.unlink(missing_ok=True)


_DIGEST_LETTERS = 16
_NAMED_BY_BYTES = re.compile(rf"\.[0-9a-f]{{{_DIGEST_LETTERS}}}(\.[^./]+)?$")
_AT_ONCE = 4


class RemoteStore:
    """A `Store` in a bucket."""

    def __init__(self, bucket: Bucket, root: Path, limit_bytes: int) -> None:
        """Make a store without a request.

        Args:
            bucket: Where files are kept.
            root: The workspace's folder, in which they are read.
            limit_bytes: The limit for files in the folder that can be downloaded again.
        """
        self._bucket = bucket
        self._root = root
        self._cache = Cache(root, limit_bytes)
        self._trees: dict[str, Hold] = {}

    def name(self, path: str, sha256: str) -> str:
        named = PurePosixPath(path)
        return str(named.with_name(f"{named.stem}.{sha256[:_DIGEST_LETTERS]}{named.suffix}"))

    def keep(self, aside: Path, path: str, sha256: str) -> None:
        self._bucket.put(self.name(path, sha256), aside)
        self._cache.make_room(aside.stat().st_size)

    def size_of(self, path: str, sha256: str) -> int | None:
        # The bucket is asked, even for files that are here: if it has lost a file, the work must be done
        # again.
        return self._bucket.size_of(self.name(path, sha256))

    def hold(self, files: Sequence[tuple[str, str]]) -> Hold:
        hold = self._cache.hold([path for path, _ in files])
        try:
            absent = [file for file in files if not (self._root / file[0]).exists()]
            with ThreadPoolExecutor(_AT_ONCE, "fetch") as threads:
                sizes = list(threads.map(lambda file: self.size_of(*file), absent))
                self._cache.make_room(sum(size for size in sizes if size is not None))
                # A lost file stays absent. Its reader reports what that means.
                kept = [file for file, size in zip(absent, sizes, strict=True) if size is not None]
                list(threads.map(lambda file: self._fetch(*file), kept))
        except BaseException:
            hold.close()
            raise
        return hold

    def create(self, path: str, data: bytes) -> bool:
        return self._bucket.create(path, data)

    def read(self, name: str) -> bytes | None:
        return self._bucket.read(name)

    def blocks(self, name: str) -> Iterator[bytes] | None:
        return self._bucket.blocks(name)

    def part(self, path: str, sha256: str, start: int, end: int) -> bytes:
        return self._bucket.part(self.name(path, sha256), start, end)

    def names(self, folder: str) -> list[str]:
        return self._bucket.names(folder)

    def keep_tree(self, aside: Path, path: str) -> bool:
        files = {file.relative_to(aside).as_posix(): file for file in aside.rglob("*") if file.is_file()}
        digests = {inside: file_sha256(file) for inside, file in files.items()}
        self._cache.make_room(sum(file.stat().st_size for file in files.values()))
        for inside, file in files.items():
            self._bucket.put(self.name(f"{path}/{inside}", digests[inside]), file)
        return self._bucket.create(f"{path}.json", json.dumps(digests, sort_keys=True, indent=2).encode())

    def fetch_tree(self, path: str) -> bool:
        if not path.startswith("models/"):
            return (self._root / path).is_dir()  # A user's own folder, which is not part of the workspace.
        if path not in self._trees:
            self._trees[path] = self._cache.hold([path])
        folder = self._root / path
        if folder.is_dir():
            return True
        listed = self._bucket.read(f"{path}.json")
        if listed is None:
            return False
        aside = aside_path(folder)
        try:
            for inside, sha256 in json.loads(listed).items():
                (aside / inside).parent.mkdir(parents=True, exist_ok=True)
                self._download(f"{path}/{inside}", sha256, aside / inside)
            self._bring_shared(path, aside)
            aside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        sync_folder(folder.parent)
        return True

    def share(self, path: str) -> None:
        if (self._root / path).exists():
            self._bucket.replace(path, (self._root / path).read_bytes())
        else:
            self._bucket.remove(path)

    def bring(self, path: str) -> bool:
        data = self._bucket.read(path)
        if data is None:
            return False
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        write_durably(self._root / path, data)
        return True

    def _bring_shared(self, path: str, aside: Path) -> None:
        """Bring what was shared into a folder after it was kept, such as a model's card."""
        for name in self._bucket.names(path):
            if not _NAMED_BY_BYTES.search(name) and (data := self._bucket.read(name)) is not None:
                (aside / name.removeprefix(f"{path}/")).write_bytes(data)

    def _fetch(self, path: str, sha256: str) -> None:
        aside = aside_path(self._root / path)
        try:
            self._download(path, sha256, aside)
            publish(aside, self._root / path)
        finally:
            aside.unlink(missing_ok=True)

    def _download(self, path: str, sha256: str, to: Path) -> None:
        name = self.name(path, sha256)
        size_bytes = self._bucket.download(name, to)
        if size_bytes is None:
            raise StoreError(
                f"{self._bucket.address}: {name} is missing; `cleanplate dataset verify` lists all faults"
            )
        if size_bytes != sha256:
            raise StoreError(
                f"{self._bucket.address}: {name} is altered; `cleanplate dataset verify` lists all faults"
            )
