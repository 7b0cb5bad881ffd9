"""Use a bucket through obstore. Network errors are retried; all other errors are reported at once.

obstore retries single requests. The loop here retries what still failed. Its random wait grows each time, and
it stops when its patience ends.
"""

import hashlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from data_specs.errors import StoreError, StoreSilentError, first_line
from tasks.storage.atomic_files import sync_file

PATIENCE_S = 120.0
_REQUEST_S, _CONNECT_S = 60, 10
_CHUNK_BYTES = 8_000_000
"""Bytes of a request. Each has a minute, so a connection of 140 kB/s is fast enough."""
_SENT_AT_ONCE = 4
_LONGEST_WAIT_S = 10.0
_TELL_AFTER_S = 5.0
"""Seconds after which the wait is logged. Otherwise it would look like a hang."""
_log = logging.getLogger(__name__)

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

Answer = TypeVar("Answer")


class _NoBucketError(StoreError):
    """The bucket itself is not there."""


class Bucket:
    """Objects under one prefix of one bucket, named by paths with slashes.

    Credentials, region and endpoint come from the usual ``AWS_*`` variables.
    """

    _used_by: ClassVar[int | None] = None
    """The process that used obstore first. Its threads do not survive a fork."""

    def __init__(self, address: str, patience_s: float = PATIENCE_S) -> None:
        """Make a bucket client without a request.

        Args:
            address: ``s3://bucket/prefix``.
            patience_s: How long to wait for a store that does not answer, in seconds.

        Raises:
            StoreError: If the variables are invalid.
        """
        self.address = address
        self._patience_s = patience_s
        server = endpoint()
        plain = server is not None and server.startswith("http://")
        try:
            self._store = S3Store.from_url(
                address,
                config={} if server is None else {"endpoint": server},
                client_options={
                    "allow_http": plain,
                    "timeout": timedelta(seconds=_REQUEST_S),
                    "connect_timeout": timedelta(seconds=_CONNECT_S),
                },
                retry_config={
                    "max_retries": 3,
                    "retry_timeout": timedelta(seconds=_REQUEST_S),
                    "backoff": {
                        "init_backoff": timedelta(seconds=0.1),
                        "max_backoff": timedelta(seconds=2),
                        "base": 2,
                    },
                },
            )
        except (GenericError, ValueError) as error:
            raise StoreError(
                f"{address}: cannot be used as a store ({_reason(error)}); check the AWS_* variables"
            ) from error

    def put(self, name: str, file: Path) -> None:
        """Upload a file whose name contains its digest. If the object exists, nothing is sent."""
        if self.size_of(name) != file.stat().st_size:
            self._put(name, file, "overwrite")

    def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none (If-None-Match). False if a different one exists.

        A failed request may have been executed all the same, so the existing object is compared.
        """
        try:
            self._put(name, data, "create")
        except (AlreadyExistsError, PreconditionError):
            return self.read(name) == data
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Put an object, replacing any object of this name."""
        self._put(name, data, "overwrite")

    def remove(self, name: str) -> None:
        """Remove an object. It need not exist."""
        with suppress(FileNotFoundError):
            self._patiently(lambda: obstore.delete(self._store, name))

    def read(self, name: str) -> bytes | None:
        """An object's bytes. None if there is none."""
        blocks = self.blocks(name)
        return None if blocks is None else b"".join(blocks)

    def blocks(self, name: str) -> Iterator[bytes] | None:
        """An object's bytes, a request's worth at a time. None if there is none."""
        size_bytes = self.size_of(name)
        if size_bytes is None:
            return None
        return (self._chunk(name, start, size_bytes) for start in range(0, size_bytes, _CHUNK_BYTES))

    def part(self, name: str, start: int, end: int) -> bytes:
        """The bytes ``start`` to ``end`` of an object. FileNotFoundError if there is none."""
        return b"".join(self._chunk(name, at, end) for at in range(start, end, _CHUNK_BYTES))

    def download(self, name: str, to: Path) -> str | None:
        """Write an object's bytes to a new file, durably.

        Returns:
            Their SHA-256. None, and no file, if there is no such object.
        """
        blocks = self.blocks(name)
        if blocks is None:
            return None
        digest = hashlib.sha256()
        with to.open("xb") as file:
            for chunk in blocks:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            sync_file(file.fileno())
        return digest.hexdigest()

    def size_of(self, name: str) -> int | None:
        """An object's size in bytes. None if there is none."""
        try:
            return self._patiently(lambda: obstore.head(self._store, name))["size"]
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """The names of all objects in a folder, sorted."""
        try:
            entries = self._patiently(lambda: obstore.list(self._store, f"{folder}/").collect())
        except _NoBucketError:
            return []  # Some stores make a bucket with its first object.
        return sorted(entry["path"] for entry in entries)

    def _put(self, name: str, data: Path | bytes, mode: Literal["create", "overwrite"]) -> None:
        """Send an object, a large file in parts.

        Raises:
            StoreError: Also if there is no such bucket.
        """
        try:
            self._patiently(
                lambda: obstore.put(
                    self._store,
                    name,
                    data,
                    mode=mode,
                    chunk_size=_CHUNK_BYTES,
                    max_concurrency=_SENT_AT_ONCE,
                )
            )
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.address}: the bucket does not exist; make it, or name another with --workspace"
            ) from error

    def _chunk(self, name: str, start: int, size_bytes: int) -> bytes:
        end = min(start + _CHUNK_BYTES, size_bytes)
        return bytes(self._patiently(lambda: obstore.get_range(self._store, name, start=start, end=end)))

    def _patiently(self, request: Callable[[], Answer]) -> Answer:
        """Send the request again while the network or the server fails, and return its answer."""
        Bucket._used_by = Bucket._used_by or os.getpid()
        if Bucket._used_by != os.getpid():
            # The request would wait forever.
            raise StoreError(f"{self.address}: cannot be used in a forked process; start a new process")
        began, wait_s, warned = time.monotonic(), 0.2, False
        while True:
            try:
                return request()
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise StoreError(
                    f"{self.address}: the store refuses these credentials ({_reason(error)}); check "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ) from error
            except GenericError as error:
                if "NoSuchBucket" in str(error):
                    raise _NoBucketError(
                        f"{self.address}: the bucket does not exist; make it first"
                    ) from error
                silent_s = time.monotonic() - began
                if silent_s + wait_s > self._patience_s:
                    raise StoreSilentError(
                        f"{self.address}: the store has not answered for {self._patience_s:g} s "
                        f"({_reason(error)}); nothing is lost, so start the same command again when it "
                        "answers"
                    ) from error
                if silent_s > _TELL_AFTER_S and not warned:
                    warned = True
                    _log.warning(
                        "%s: the store does not answer; it is asked again for %.0f s (%s)",
                        self.address,
                        self._patience_s - silent_s,
                        _reason(error),
                    )
            time.sleep(random.uniform(wait_s / 2, wait_s))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def endpoint() -> str | None:
    """The store's own address if it is not Amazon's, from the AWS_* variables."""
    return next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)


def _reason(error: Exception) -> str:
    """The error without the request and its attempts, which obstore puts first."""
    return first_line(error).rpartition(" - ")[2].partition(": <?xml")[0]
