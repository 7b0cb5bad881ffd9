"""Scenes at ingest: near-equal images share one, and so a split; what is known lies in the ledger.

Near is a perceptual hash of 64 bits within `RADIUS`, or so of the mirrored image, and thumbnails that
agree. Why these numbers: ``docs/decisions/0094-scenes.md``.
"""

import fcntl
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import RgbImage
from data_specs.keys import Split, derive_key, image_hash, split_of_scene
from data_specs.reject import RejectReason
from data_specs.scene_image import SceneImage
from tasks.sources.image_files import RejectedImage
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

# Which scene an image read from a file belongs to: by what its source says, else by the image.

_FRAME = re.compile(r"(?P<film>(?:.*[^a-z])?frames?)[ _.-]*\d+", re.IGNORECASE)
"""``frame_0012``, ``street-frame12``; but ``IMG_0012`` is a camera's next photograph."""


class SplitShares(Protocol):
    """The shares of scenes that are held out."""

    @property
    def validation_fraction(self) -> float:
        """0..0.5."""
        ...

    @property
    def test_fraction(self) -> float:
        """0..0.5."""
        ...


class SceneChoice(Protocol):
    """Chooses the scene and the split of an image."""

    def __call__(
        self, path: Path, image: RgbImage, shares: SplitShares, lineage: str | None
    ) -> tuple[str, Split]:
        """Scene and split.

        Args:
            path: For what is said to people.
            image: H×W×3 uint8: the whole ground truth, or the pool's whole image.
            shares: For a scene that is new.
            lineage: The key of the scene or the film that the source says it is of; None: unsaid.

        Raises:
            RejectedImage: TWO_SPLITS, when it would join scenes of two splits.
        """
        ...


def by_pixels(path: Path, image: RgbImage, shares: SplitShares, lineage: str | None) -> tuple[str, Split]:
    """Without a ledger: the scene that the source names, else one for each image."""
    scene = new_scene(image_hash(image), lineage)
    return scene, split_of_new(scene, shares)


def new_scene(image: str, lineage: str | None) -> str:
    """The name of a scene that nothing is known of."""
    return lineage or derive_key("scene", image)


def split_of_new(scene: str, shares: SplitShares) -> Split:
    """The split of a scene that nothing is known of."""
    return split_of_scene(scene, validation=shares.validation_fraction, test=shares.test_fraction)


def film_of(kind: str, root: Path, name: str) -> str | None:
    """The key of the film whose frame a file is by its name; None where the name says nothing of the kind.

    Args:
        kind: The source's name.
        root: The source's folder; its own name counts.
        name: The file's path inside the folder.
    """
    path = Path(name)
    frame = _FRAME.fullmatch(path.stem)
    if frame is None:
        return None
    return derive_key("film", kind, root.name, str(path.parent), frame["film"])


RADIUS = 16
"""Bits that the hashes of near images may differ by."""
_SIDE_PX = 8
_HASHED_PX = 32
_LOOKED_AT = 256
"""Images within the radius whose thumbnails are compared, the nearest first."""
_AGREEING = 0.7
"""Share of a thumbnail that must agree: people walk through the rest."""
_LEVELS, _CONTRAST_FRACTION = 12.0, 0.2
"""Levels of 255 within which a place agrees: at most so many, and less where there is little contrast, since
one plain wall is like another."""
_BRIGHTER = 24.0
"""Levels that one image may be brighter by, a channel."""


class Look(NamedTuple):
    """What images are compared by."""

    hash: np.uint64
    thumbnail: NDArray[np.uint8]
    """8×8×3."""


def look_of(image: RgbImage) -> Look:
    """The perceptual hash and the thumbnail of H×W×3 uint8.

    The hash: luminance reduced to 32×32 by area, its DCT's 8×8 lowest coefficients row by row, a bit for
    each that is above the median of all but the first, the highest bit first.
    """
    grey = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_HASHED_PX,) * 2, interpolation=cv2.INTER_AREA
    )
    low = cv2.dct(grey.astype(np.float32))[:_SIDE_PX, :_SIDE_PX].ravel()
    bits = np.packbits(low > np.median(low[1:]))
    thumbnail = cv2.resize(image, (_SIDE_PX,) * 2, interpolation=cv2.INTER_AREA)
    return Look(bits.view(">u8")[0].astype(np.uint64), np.asarray(thumbnail, np.uint8))


def thumbnails_agree(one: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether an 8×8×3 thumbnail agrees with each of N×8×8×3: N bool."""
    difference = others.astype(np.float32) - one
    brighter = np.clip(np.median(difference, axis=(1, 2), keepdims=True), -_BRIGHTER, _BRIGHTER)
    contrast = np.minimum(others.std(axis=(1, 2)).max(-1), one.std(axis=(0, 1)).max())
    levels = np.clip(_CONTRAST_FRACTION * contrast, 1, _LEVELS)[:, None, None]
    return (np.abs(difference - brighter).max(-1) <= levels).mean((1, 2)) >= _AGREEING


class Scenes:
    """A `SceneChoice` that knows all images of the ledger and those it was asked about itself."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known = _known_at(ledger.url)
        self._known.read(ledger)
        self._new: list[SceneImage] = []
        self._new_images: dict[str, SceneImage] = {}
        self._new_hashes = _Hashes()
        self._new_lineages: dict[str, SceneImage] = {}

    def __call__(
        self, path: Path, image: RgbImage, shares: SplitShares, lineage: str | None
    ) -> tuple[str, Split]:
        """See ``SceneChoice``."""
        key = image_hash(image)
        known = self._new_images.get(key) or self._ledger.scene_image(key)
        if known is None:
            known = self._placed(path, key, image, shares, lineage)
            self._new.append(known)
            self._new_images[key] = known
            self._new_hashes.add([known.hash])
            if lineage is not None:
                self._new_lineages.setdefault(lineage, known)
        return known.scene, known.split

    def record(self) -> None:
        """Enter what was new into the ledger; to be done before the samples' shard is."""
        self._ledger.record_scene_images(self._new)

    def _placed(
        self, path: Path, key: str, image: RgbImage, shares: SplitShares, lineage: str | None
    ) -> SceneImage:
        look, mirrored = look_of(image), look_of(np.ascontiguousarray(image[:, ::-1]))
        near = [*self._of_lineage(lineage), *self._near(look), *self._near(mirrored)]
        scene = near[0].scene if near else new_scene(key, lineage)
        split = near[0].split if near else split_of_new(scene, shares)
        other = next((each for each in near if each.split != split), None)
        if other is not None:
            detail = f"scene {scene} is {split}, scene {other.scene} is {other.split}"
            raise RejectedImage(path, RejectReason.TWO_SPLITS, detail)
        signed = int(look.hash.astype(np.int64))
        return SceneImage(key, scene, split, lineage, signed, look.thumbnail.tobytes())

    def _of_lineage(self, lineage: str | None) -> list[SceneImage]:
        if lineage is None:
            return []
        known = self._ledger.scene_of_lineage(lineage) or self._new_lineages.get(lineage)
        return [] if known is None else [known]

    def _near(self, look: Look) -> list[SceneImage]:
        """The images that are near, those of the ledger first, the nearest first."""
        numbers = [self._known.sequences[place] for place in self._known.hashes.near(look.hash)]
        rows = self._ledger.scene_images(numbers) if numbers else {}
        found = [rows[number] for number in numbers]
        found += [self._new[place] for place in self._new_hashes.near(look.hash)]
        if not found:
            return []
        shape = (len(found), _SIDE_PX, _SIDE_PX, 3)
        thumbnails = np.frombuffer(b"".join(each.thumbnail for each in found), np.uint8).reshape(shape)
        agree = thumbnails_agree(look.thumbnail, thumbnails)
        return [each for each, yes in zip(found, agree, strict=True) if yes]


class _Hashes:
    """Hashes that grow in number; the near ones are found by comparing with all, 1 ns each."""

    def __init__(self) -> None:
        self._room = np.empty(1024, np.uint64)
        self.count = 0

    def add(self, signed: Iterable[int]) -> None:
        more = np.array(list(signed), np.int64).view(np.uint64)
        while self.count + len(more) > len(self._room):
            self._room = np.concatenate([self._room, np.empty_like(self._room)])
        self._room[self.count : self.count + len(more)] = more
        self.count += len(more)

    def near(self, hash: np.uint64) -> list[int]:
        """Places of those within the radius, the nearest first, `_LOOKED_AT` at most."""
        apart = np.bitwise_count(self._room[: self.count] ^ hash)
        places = np.flatnonzero(apart <= RADIUS)
        return places[np.argsort(apart[places], kind="stable")][:_LOOKED_AT].tolist()


class _Known:
    """The hashes of a ledger's images, read on from where the last reading ended."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.sequences: list[int] = []
        self.hashes, self._last = _Hashes(), SceneImage("", "", "train", None, 0, b"")

    def read(self, ledger: Ledger) -> None:
        last = self.sequences[-1] if self.sequences else 0
        if last and ledger.scene_images([last]).get(last) != self._last:
            # Another ledger lies there now.
            self.forget()
            last = 0
        for part in ledger.scene_hashes(after=last):
            self.sequences += [sequence for sequence, _ in part]
            self.hashes.add(hash for _, hash in part)
        if self.sequences:
            self._last = ledger.scene_images(self.sequences[-1:])[self.sequences[-1]]


@lru_cache(maxsize=2)
def _known_at(url: str) -> _Known:
    return _Known()


@contextmanager
def scenes_alone(workspace: Workspace) -> Iterator[None]:
    """Held while a shard's images get their scenes: two at a time would not see each other's.

    The kernel lets go when the holder dies.
    """
    with (workspace.root / ".scenes.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
