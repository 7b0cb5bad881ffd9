"""The store that is a bucket, with the workspace's folder as its cache.

An object's name holds its bytes' digest: ``shards/NAME.DIGEST.tar``. So two machines whose work is not
bit-exact never write over each other; the ledger's row says whose bytes count. A folder is kept as its
files and, last, a list of them at a fixed name, created only where there is none.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from data_specs.errors import StoreError
from tasks.storage.atomic_files import aside_path, publish, sync_folder, write_durably
from tasks.storage.object_store.cache import Cache, Hold
from tasks.storage.object_store.s3 import Bucket

_DIGEST_LETTERS = 16
_NAMED_BY_BYTES = re.compile(rf"\.[0-9a-f]{{{_DIGEST_LETTERS}}}(\.[^./]+)?$")
_AT_ONCE = 4


class RemoteStore:
    """A `Store` in a bucket."""

    def __init__(self, bucket: Bucket, root: Path, limit_bytes: int) -> None:
        """Makes no request yet.

        Args:
            bucket: Where files are kept.
            root: The workspace's folder, in which they are read.
            limit_bytes: What the folder may hold of what can be fetched again.
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
        # The bucket is asked, also for what lies here: work whose file it has lost is to be done again.
        return self._bucket.size_of(self.name(path, sha256))

    def hold(self, files: Sequence[tuple[str, str]]) -> Hold:
        hold = self._cache.hold([path for path, _ in files])
        try:
            absent = [file for file in files if not (self._root / file[0]).exists()]
            with ThreadPoolExecutor(_AT_ONCE, "fetch") as threads:
                sizes = list(threads.map(lambda file: self.size_of(*file), absent))
                self._cache.make_room(sum(size for size in sizes if size is not None))
                # A lost file stays absent, and whoever reads it says what that means.
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

    def names(self, folder: str) -> list[str]:
        return self._bucket.names(folder)

    def keep_tree(self, aside: Path, path: str) -> bool:
        files = {each.relative_to(aside).as_posix(): each for each in aside.rglob("*") if each.is_file()}
        digests = {inside: _sha256(file) for inside, file in files.items()}
        self._cache.make_room(sum(file.stat().st_size for file in files.values()))
        for inside, file in files.items():
            self._bucket.put(self.name(f"{path}/{inside}", digests[inside]), file)
        return self._bucket.create(f"{path}.json", json.dumps(digests, sort_keys=True, indent=2).encode())

    def fetch_tree(self, path: str) -> bool:
        if not path.startswith("models/"):
            return (self._root / path).is_dir()  # Somebody's own folder, which is no part of the workspace.
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
        """What was shared into a folder after it was kept, as a model's card is."""
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
        found = self._bucket.download(name, to)
        if found is None:
            raise StoreError(
                f"{self._bucket.address}: has lost {name}; `cleanplate dataset verify` lists all"
            )
        if found != sha256:
            raise StoreError(
                f"{self._bucket.address}: {name} is altered; `cleanplate dataset verify` lists all such"
            )


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
