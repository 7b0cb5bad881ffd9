"""Do what the review page asks for one person: lease items, answer, undo, show the state, as JSON."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import ShardError, UnknownKeyError
from data_specs.review import REASONS, Decision, Person, PlainText
from data_specs.review_batch import Answer, Lease
from tasks.review.auth import Refusal
from tasks.storage.ledger import Ledger
from tasks.storage.shards import ShardReader
from tasks.storage.shards.codecs import decode_mask
from tasks.storage.workspace import Workspace

# Images of the candidates under review: found by key in the ledger, read from their shard's tar.

ImageName = Literal["source", "mask", "removal"]

_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}
_REMEMBERED = 4096
_READERS = 64
"""Shards whose tars stay open, those used last. A process may usually have 1,024 files."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image with the shard's own bytes."""

    content: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Description:
    """What the page needs to know about a candidate before its images arrive."""

    class_name: str
    width: int
    height: int
    mask_box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels. x1 and y1 lie just outside the mask."""


class ReviewImages:
    """Reads candidates that some batch asks about, and no others. Thread-safe."""

    def __init__(self, workspace: Workspace, ledger: Ledger) -> None:
        self._workspace = workspace
        self._ledger = ledger
        self._readers: OrderedDict[str, ShardReader] = OrderedDict()
        self._lock = threading.Lock()
        self.describe = lru_cache(_REMEMBERED)(self._describe)

    def image(self, candidate: str, name: ImageName) -> Image:
        """Read one image.

        Raises:
            UnknownKeyError: If no batch asks about this candidate.
            ShardError: If its shard is missing or altered.
        """
        members = self._reader(candidate).by_key(candidate).members
        for suffix, media_type in _MEDIA_TYPES.items():
            content = members.get(f"{name}.{suffix}")
            if content is not None:
                return Image(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        raise UnknownKeyError(f"candidate {candidate} has no image {name}")

    def _describe(self, candidate: str) -> Description:
        """Only the facts and the mask are read: source and removal have 0.8 MB at 512 px."""
        reader = self._reader(candidate)
        try:
            class_name = str(json.loads(reader.member_by_key(candidate, "json"))["class_name"])
            mask = decode_mask(reader.member_by_key(candidate, "mask.png"))
        except (KeyError, ValueError, TypeError) as error:
            raise ShardError(
                f"candidate {candidate} cannot be decoded ({error}); run `cleanplate dataset verify`"
            ) from error
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        rows, columns = mask.shape
        return Description(class_name, columns, rows, (x, y, x + width, y + height))

    def _reader(self, candidate: str) -> ShardReader:
        ref = self._ledger.batches.shard_under_review(candidate)
        if ref is None:
            raise UnknownKeyError(f"no review batch asks about a candidate {candidate[:40]}")
        with self._lock:
            reader = self._readers.pop(ref.name, None) or ShardReader(self._workspace, [ref], check=True)
            self._readers[ref.name] = reader
            if len(self._readers) > _READERS:
                # Not closed here: another thread may be reading. Its tar closes with its last user.
                self._readers.popitem(last=False)
        return reader


class LeaseBody(BaseModel):
    """The number of wanted items."""

    count: int = Field(default=10, ge=1, le=20)


class AnswerBody(BaseModel):
    """An answer as the page sends it."""

    model_config = ConfigDict(str_strip_whitespace=True)

    lease: str = Field(pattern=r"^[0-9a-f]{20}$")
    decision: Decision
    reason: str = Field(default="", max_length=40)
    seconds: float = Field(ge=0, le=86_400, allow_inf_nan=False)
    page_version: PlainText = Field(default="", max_length=32)


class UndoBody(BaseModel):
    """The answer to take back."""

    event: str = Field(pattern=r"^[0-9a-f]{20}$")


class ReviewService:
    """The review work of one server."""

    def __init__(
        self,
        ledger: Ledger,
        images: ReviewImages,
        batch: str | None,
        page_version: str,
        when_complete: Callable[[str], None],
    ) -> None:
        """``batch`` is the one to ask about. None means all batches that want answers."""
        self._ledger = ledger
        self._images = images
        self._batch = batch
        self._page_version = page_version
        self._when_complete = when_complete
        # SQLite's writers poll, and an unlucky one waits for seconds. A lock makes them queue in one process.
        self._writing = threading.Lock()

    def state(self, person: Person) -> dict[str, Any]:
        """The progress of the person and of the batch."""
        name = next(iter(self._batches()), None)
        state: dict[str, Any] = {
            "person": person.name,
            "page_version": self._page_version,
            "reasons": list(REASONS),
            "batch": {"name": name or "", "left": 0, "answers": 0, "wanted": 0},
            "mine": {"answers": 0, "per_minute": 0.0},
        }
        if name is not None:
            counts = self._ledger.batches.counts(name)
            state["batch"] |= {"left": counts.left, "answers": counts.answers, "wanted": counts.wanted}
            state["mine"] = self._mine(name, person)[0]
        return state

    def lease(self, person: Person, body: LeaseBody) -> dict[str, Any]:
        """Items for the person, those already leased first, from the oldest batch that has any."""
        for name in self._batches():
            with self._writing:
                leases = self._ledger.leases.lease(name, person.name, body.count, datetime.now(UTC))
            if leases:
                return {"items": [self._item(lease) for lease in leases]}
        return {"items": []}

    def answer(self, person: Person, body: AnswerBody) -> dict[str, Any]:
        """Record an answer."""
        if body.reason not in ("", *REASONS):
            raise Refusal(400, f"the reason must be one of: {', '.join(REASONS)}")
        answer = Answer(**body.model_dump(exclude={"lease"}))
        with self._writing:
            review = self._ledger.leases.answer(body.lease, person.name, answer, datetime.now(UTC))
        batch = str(review.batch)
        mine, left = self._mine(batch, person)
        if left == 0:
            self._when_complete(batch)
        return {"event": review.event, "mine": mine, "left": left}

    def undo(self, person: Person, body: UndoBody) -> dict[str, Any]:
        """Take an answer back."""
        with self._writing:
            lease = self._ledger.leases.undo(body.event, person.name, datetime.now(UTC))
        return {"item": self._item(lease)}

    def batch_to_show(self) -> str | None:
        """The batch whose quality is shown: the one asked about, or the newest."""
        newest = [batch.name for batch in self._ledger.batches.all()][-1:]
        return next(iter([*self._batches(), *newest]), None)

    def _batches(self) -> list[str]:
        """The batches to ask about now."""
        return self._ledger.batches.wanting() if self._batch is None else [self._batch]

    def _mine(self, batch: str, person: Person) -> tuple[dict[str, float], int]:
        progress = self._ledger.batches.progress(batch, person.name, datetime.now(UTC))
        return {"answers": progress.answers, "per_minute": round(progress.per_minute, 1)}, progress.left

    def _item(self, lease: Lease) -> dict[str, Any]:
        seen = self._images.describe(lease.candidate)
        names: tuple[Literal["source", "mask", "removal"], ...] = ("source", "mask", "removal")
        return {
            "lease": lease.lease,
            "candidate": lease.candidate,
            "expires_at": lease.expires_at.isoformat(),
            "class_name": seen.class_name,
            "width": seen.width,
            "height": seen.height,
            "mask_box": list(seen.mask_box),
            "images": {name: f"images/{lease.candidate}/{name}.png" for name in names},
        }
