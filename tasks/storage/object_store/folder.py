"""The store that is the workspace's own folder: what has its name there is kept."""

from collections.abc import Sequence
from pathlib import Path

from tasks.storage.atomic_files import SUFFIX, is_abandoned, publish_if_absent, written_aside
from tasks.storage.object_store.plain_file import read_plain


class FolderStore:
    """A `Store` on the local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def name(self, path: str, sha256: str) -> str:
        return path

    def keep(self, aside: Path, path: str, sha256: str) -> None:
        pass

    def size_of(self, path: str, sha256: str) -> int | None:
        file = self._root / path
        return file.stat().st_size if file.is_file() else None

    def hold(self, files: Sequence[tuple[str, str]]) -> "_Kept":
        return _Kept()

    def create(self, path: str, data: bytes) -> bool:
        with written_aside(self._root / path, data) as aside:
            return publish_if_absent(aside, self._root / path)

    def read(self, name: str) -> bytes | None:
        try:
            return read_plain(self._root / name)
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        paths = sorted((self._root / folder).iterdir())
        return [f"{folder}/{path.name}" for path in paths if path.suffix != SUFFIX or is_abandoned(path)]

    def keep_tree(self, aside: Path, path: str) -> bool:
        return not (self._root / path).exists()

    def fetch_tree(self, path: str) -> bool:
        return (self._root / path).is_dir()

    def share(self, path: str) -> None:
        pass

    def bring(self, path: str) -> bool:
        return (self._root / path).is_file()


class _Kept:
    """Nothing ever leaves a folder store."""

    def close(self) -> None:
        pass
