"""The local folder as a cache: a size limit, the longest unused goes first, what is in use stays.

Who reads files names them in a file under ``held/`` for as long. It is named like an aside file, after the
process, so that what the killed held is let go.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.storage.atomic_files import SUFFIX, aside_path, is_abandoned

_FILES = ("shards/*.tar", "shards/*.parquet")
_TREES = "models/*/"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or a folder that may go; used last at ``used_ns``."""

    path: str
    size_bytes: int
    used_ns: int


class Cache:
    """What a remote store's workspace has here. Checkpoints and reports are no part of it.

    Files in use stay even where they alone exceed the limit.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self._held = root / "held"

    def hold(self, paths: Sequence[str]) -> "Hold":
        """Says that files or folders are in use from now on, whether they are here yet or not."""
        with self._alone():
            hold = Hold(aside_path(self._held / "hold"), paths)
            for path in paths:
                if (self._root / path).exists():
                    os.utime(self._root / path)
            return hold

    def make_room(self, wanted_bytes: int) -> list[str]:
        """Removes what was longest unused until so much more fits under the limit.

        Returns:
            The paths removed.
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
        """One process at a time looks at what is in use; the kernel lets go when it dies."""
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
        size_bytes = sum(each.stat().st_size for each in inside if each.is_file())
        return _Entry(path.relative_to(self._root).as_posix(), size_bytes, path.stat().st_mtime_ns)

    def _in_use(self) -> set[str]:
        in_use: set[str] = set()
        for hold in self._held.iterdir():
            if is_abandoned(hold):
                hold.unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):  # Who lets go asks nobody.
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
    """Paths that one process uses."""

    def __init__(self, file: Path, paths: Sequence[str]) -> None:
        self._file, self._process = file, os.getpid()
        file.write_text("".join(f"{path}\n" for path in paths))

    def close(self) -> None:
        """Lets go; a forked child's copy lets nothing go."""
        if os.getpid() == self._process:
            self._file.unlink(missing_ok=True)
