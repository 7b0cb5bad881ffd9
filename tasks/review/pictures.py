"""Pictures of the candidates under review: found by key in the ledger, read from their shard's tar."""

import hashlib
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from data_specs.errors import UnknownKeyError
from data_specs.shard import EncodedSample
from tasks.storage.ledger import Ledger
from tasks.storage.shards import ShardReader, decode_candidate
from tasks.storage.workspace import Workspace

PictureName = Literal["source", "mask", "removal"]

_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it lies in the shard."""

    content: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Description:
    """What the page must know of a candidate before its pictures come."""

    class_name: str
    width: int
    height: int
    mask_box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels; x1 and y1 lie just beyond the mask."""


class ReviewPictures:
    """Reads candidates that some batch asks about, and no others; safe in many threads."""

    def __init__(self, workspace: Workspace, ledger: Ledger) -> None:
        self._workspace = workspace
        self._ledger = ledger
        self._readers: dict[str, ShardReader] = {}
        self._lock = threading.Lock()
        self.describe = lru_cache(_REMEMBERED)(self._describe)

    def picture(self, candidate: str, name: PictureName) -> Picture:
        """One picture.

        Raises:
            UnknownKeyError: When no batch asks about this candidate.
            ShardError: When its shard is missing or altered.
        """
        members = self._sample(candidate).members
        for suffix, media_type in _MEDIA_TYPES.items():
            content = members.get(f"{name}.{suffix}")
            if content is not None:
                return Picture(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        raise UnknownKeyError(f"candidate {candidate} has no picture {name}")

    def _describe(self, candidate: str) -> Description:
        decoded = decode_candidate(self._sample(candidate))
        x, y, width, height = cv2.boundingRect(decoded.mask.view(np.uint8))
        rows, columns = decoded.mask.shape
        return Description(decoded.class_name, columns, rows, (x, y, x + width, y + height))

    def _sample(self, candidate: str) -> EncodedSample:
        ref = self._ledger.shard_under_review(candidate)
        if ref is None:
            raise UnknownKeyError(f"no review batch asks about a candidate {candidate[:40]}")
        with self._lock:
            if ref.name not in self._readers:
                self._readers[ref.name] = ShardReader(self._workspace, [ref], check=True)
            reader = self._readers[ref.name]
        return reader.by_key(candidate)
