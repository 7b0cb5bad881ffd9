"""Find the working folder of an address, and the store of a working folder.

A workspace is always a local folder. ``s3://bucket/prefix`` stands for a folder in the cache. A file in it
names the store, so tasks, forks and workers get an ordinary path.
"""

import os
import re
from functools import lru_cache
from pathlib import Path

from data_specs.errors import InputError
from data_specs.keys import derive_key
from tasks.storage.atomic_files import write_durably
from tasks.storage.object_store.cached import RemoteStore
from tasks.storage.object_store.s3 import Bucket, endpoint
from tasks.storage.object_store.store import FolderStore, Store

STORE_FILE = "store_url"
CACHE_VARIABLE = "CLEANPLATE_CACHE"
LIMIT_VARIABLE = "CLEANPLATE_CACHE_GB"
_LIMIT_GB = 50.0
# pathlib reduces the two slashes of an address to one if it is given as a path.
_ADDRESS = re.compile(r"s3:/{1,2}([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_.-]+)*)/?")


def working_folder(place: Path | str) -> Path:
    """The absolute folder to work in: the given folder, or the cache of the given store.

    Args:
        place: A folder, or ``s3://bucket/prefix``.

    Raises:
        InputError: If an address names no bucket.
    """
    if not str(place).startswith("s3:"):
        return Path(place).expanduser().absolute()
    matched = _ADDRESS.fullmatch(str(place))
    if matched is None:
        raise InputError(place, "is not the address of a store; write s3://bucket/prefix")
    address = f"s3://{matched[1]}{matched[2]}"
    readable = address.removeprefix("s3://").replace("/", "-")
    folder = _cache_folder() / f"{readable}-{derive_key('store', endpoint() or '', address)[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if stored_at(folder) != address:
            write_durably(folder / STORE_FILE, f"{address}\n".encode())
    except OSError as error:
        raise InputError(
            folder, f"cannot be used as a cache ({error.strerror}); name another with {CACHE_VARIABLE}"
        ) from error
    return folder


def stored_at(folder: Path) -> str | None:
    """The address of a working folder's store. None if the folder itself is the store."""
    file = folder / STORE_FILE
    return file.read_text().strip() if file.is_file() else None


def store_of(folder: Path) -> Store:
    """The store of a workspace's folder.

    Raises:
        InputError: If the limit of the cache is no number.
        StoreError: If the AWS_* variables are invalid.
    """
    address = stored_at(folder)
    if address is None:
        return FolderStore(folder)
    return _remote(folder, address, endpoint(), _limit_bytes())


@lru_cache(maxsize=8)
def _remote(folder: Path, address: str, _endpoint: str | None, limit_bytes: int) -> RemoteStore:
    """One client for each process: its connections are kept."""
    return RemoteStore(Bucket(address), folder, limit_bytes)


def _cache_folder() -> Path:
    named = os.environ.get(CACHE_VARIABLE, "").strip()
    return (Path(named) if named else Path("~/.cache/cleanplate")).expanduser().absolute()


def _limit_bytes() -> int:
    named = os.environ.get(LIMIT_VARIABLE, "").strip() or str(_LIMIT_GB)
    try:
        limit_gb = float(named)
    except ValueError:
        limit_gb = -1.0
    if not limit_gb > 0:
        raise InputError(LIMIT_VARIABLE, f"'{named}' is not a size; write a number of GB above 0, such as 50")
    return int(limit_gb * 1e9)
