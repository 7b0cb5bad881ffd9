"""Assign scenes at ingest: near-equal images share a scene, and therefore a split. The ledger keeps them.

Two images are near if two things hold. Their 64-bit perceptual hashes differ by at most `RADIUS` bits, also
when one is mirrored. Their thumbnails agree. The reasons for these numbers are in
``docs/development/decisions/0094-scenes.md``.
"""

import fcntl
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_specs.arrays import RgbImage
from data_specs.keys import Split, derive_key, image_hash, split_of_scene
from data_specs.reject import RejectReason
from data_specs.scene_image import SceneImage
from tasks.sources.image_files import RejectedImage
from tasks.sources.near_hashes import NearHashes
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

# The scene of an image read from a file: the source names it, or else the image decides.

_FRAME = re.compile(r"(?P<film>(?:.*[^a-z])?frames?)[ _.-]*\d+", re.IGNORECASE)
"""``frame_0012``, ``street-frame12``. But ``IMG_0012`` is just a camera's next photograph."""


ValidationFraction = Annotated[float, Field(ge=0, le=0.5, description="Fraction of scenes for validation.")]
TestFraction = Annotated[float, Field(ge=0, le=0.5, description="Fraction of scenes for testing.")]


class SplitFractions(Protocol):
    """The fractions of scenes that are held out."""

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
        self, path: Path, image: RgbImage, fractions: SplitFractions, lineage: str | None
    ) -> tuple[str, Split]:
        """Choose scene and split.

        Args:
            path: For messages to people.
            image: H×W×3 uint8: the complete ground truth, or the pool's complete image.
            fractions: The fractions, for a new scene.
            lineage: The key of the scene or video that the source names. None if it names none.

        Raises:
            RejectedImage: TWO_SPLITS if it would join scenes of two splits.
        """
        ...


def by_pixels(
    path: Path, image: RgbImage, fractions: SplitFractions, lineage: str | None
) -> tuple[str, Split]:
    """Without a ledger: the scene that the source names, or else one scene for each image."""
    scene = new_scene(image_hash(image), lineage)
    return scene, split_of_new(scene, fractions)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A `SceneChoice` of a scene that was chosen before."""

    scene: str
    split: Split

    def __call__(
        self, path: Path, image: RgbImage, fractions: SplitFractions, lineage: str | None
    ) -> tuple[str, Split]:
        """See ``SceneChoice``."""
        return self.scene, self.split


def new_scene(image: str, lineage: str | None) -> str:
    """The name of an unknown scene."""
    return lineage or derive_key("scene", image)


def split_of_new(scene: str, fractions: SplitFractions) -> Split:
    """The split of an unknown scene."""
    return split_of_scene(scene, validation=fractions.validation_fraction, test=fractions.test_fraction)


def sequence_of(kind: str, root: Path, name: str) -> str | None:
    """The key of the video whose frame a file is, by its name. None if the name is not that of a frame.

    Args:
        kind: The source's name.
        root: The source's folder. Its own name counts.
        name: The file's path inside the folder.
    """
    path = Path(name)
    frame = _FRAME.fullmatch(path.stem)
    if frame is None:
        return None
    return derive_key("film", kind, root.name, str(path.parent), frame["film"])


_SIDE_PX = 8
THUMBNAIL_SHAPE = (_SIDE_PX, _SIDE_PX, 3)
_HASHED_PX = 32
_AGREEING = 0.7
"""The fraction of a thumbnail that must agree. People may walk through the rest."""
_LEVELS, _CONTRAST_FRACTION = 12.0, 0.2
"""Levels of 255 within which a cell agrees. The limit is lower where there is little contrast, because one
plain wall looks like another."""
_BRIGHTER = 24.0
"""Levels by which one image may be brighter in each channel."""


class Look(NamedTuple):
    """What images are compared by."""

    hash: np.uint64
    thumbnail: NDArray[np.uint8]
    """8×8×3."""


def look_of(image: RgbImage) -> Look:
    """The perceptual hash and the thumbnail of H×W×3 uint8.

    The hash: luminance is reduced to 32×32 by area. Its DCT's 8×8 lowest coefficients, row by row, give one
    bit each: 1 if it is above the median of all but the first. The highest bit comes first.
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


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """All that decides the scene of an image. They are read in any order, and scenes chosen in one order."""

    image: str
    """Key of its pixels."""
    look: Look
    mirrored: Look
    lineage: str | None
    """The key of the scene or video that the source names."""
    file: str
    """For messages to people."""
    validation_fraction: float
    test_fraction: float
    """1: the scene must be of the test split."""

    @property
    def first_split(self) -> Split:
        """The split, if no other image is near."""
        return split_of_new(new_scene(self.image, self.lineage), self)


def facts_of(path: Path, image: RgbImage, fractions: SplitFractions, lineage: str | None) -> SceneFacts:
    """The facts of H×W×3 uint8. The arguments are those of a ``SceneChoice``."""
    return SceneFacts(
        image=image_hash(image),
        look=look_of(image),
        mirrored=look_of(np.ascontiguousarray(image[:, ::-1])),
        lineage=lineage,
        file=path.name,
        validation_fraction=fractions.validation_fraction,
        test_fraction=fractions.test_fraction,
    )


class Scenes:
    """A `SceneChoice` that knows all images of the ledger and those of its own earlier calls."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known = _known_at(ledger.url)
        self._known.read(ledger)
        self._images: dict[str, SceneImage] = {}
        self._lineages: dict[str, SceneImage] = {}
        self._rows: dict[int, SceneImage] = {}
        self._new: list[SceneImage] = []
        self._new_images: dict[str, SceneImage] = {}
        self._new_hashes = NearHashes()
        self._new_lineages: dict[str, SceneImage] = {}

    def __call__(
        self, path: Path, image: RgbImage, fractions: SplitFractions, lineage: str | None
    ) -> tuple[str, Split]:
        """See ``SceneChoice``."""
        facts = facts_of(path, image, fractions, lineage)
        self.look_up([facts])
        return self.choose(facts)

    def look_up(self, images: Sequence[SceneFacts], more: bool = False) -> None:
        """Ask the ledger what is known about some images, with one query of each kind for all of them.

        Args:
            images: The images.
            more: Whether earlier answers are still needed.
        """
        if not more:
            self._images, self._lineages, self._rows = {}, {}, {}
        scenes = self._ledger.scenes
        self._images |= scenes.of_images([facts.image for facts in images])
        self._lineages |= scenes.of_lineages([facts.lineage for facts in images if facts.lineage])
        others = [facts for facts in images if facts.image not in self._images]
        looks = [look for facts in others for look in (facts.look, facts.mirrored)]
        near = {number for look in looks for number in self._known.near(look)}
        self._rows |= scenes.images(sorted(near - self._rows.keys()))

    def choose(self, facts: SceneFacts) -> tuple[str, Split]:
        """Scene and split of an image of the last ``look_up``.

        Raises:
            RejectedImage: TWO_SPLITS if it would join scenes of two splits.
        """
        entry = self._new_images.get(facts.image) or self._images.get(facts.image)
        if entry is None:
            entry = self._placed(facts)
            self._new.append(entry)
            self._new_images[facts.image] = entry
            self._new_hashes.add([entry.hash])
            if facts.lineage is not None:
                self._new_lineages.setdefault(facts.lineage, entry)
        if facts.test_fraction == 1 and entry.split != "test":
            detail = f"scene {entry.scene} is {entry.split}, and this one may be of the test split only"
            raise RejectedImage(facts.file, RejectReason.TWO_SPLITS, detail)
        return entry.scene, entry.split

    def record(self) -> None:
        """Write the new scenes to the ledger. To be called before the samples' shard is recorded."""
        self._ledger.scenes.record(self._new)

    def _placed(self, facts: SceneFacts) -> SceneImage:
        near = [*self._of_lineage(facts.lineage), *self._near(facts.look), *self._near(facts.mirrored)]
        scene = near[0].scene if near else new_scene(facts.image, facts.lineage)
        split = near[0].split if near else split_of_new(scene, facts)
        other = next((image for image in near if image.split != split), None)
        if other is not None:
            detail = f"scene {scene} is {split}, scene {other.scene} is {other.split}"
            raise RejectedImage(facts.file, RejectReason.TWO_SPLITS, detail)
        signed = int(facts.look.hash.astype(np.int64))
        return SceneImage(facts.image, scene, split, facts.lineage, signed, facts.look.thumbnail.tobytes())

    def _of_lineage(self, lineage: str | None) -> list[SceneImage]:
        if lineage is None:
            return []
        entry = self._lineages.get(lineage) or self._new_lineages.get(lineage)
        return [] if entry is None else [entry]

    def _near(self, look: Look) -> list[SceneImage]:
        """The near images, those of the ledger first, nearest first."""
        candidates = [self._rows[number] for number in self._known.near(look)]
        candidates += [self._new[place] for place in self._new_hashes.near(look.hash)]
        if not candidates:
            return []
        shape = (len(candidates), *THUMBNAIL_SHAPE)
        thumbnails = np.frombuffer(b"".join(image.thumbnail for image in candidates), np.uint8).reshape(shape)
        agree = thumbnails_agree(look.thumbnail, thumbnails)
        return [image for image, yes in zip(candidates, agree, strict=True) if yes]


class _Known:
    """The hashes of a ledger's images. Reading continues where the last one ended."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.sequences = array("q")
        self.hashes, self._last = NearHashes(), SceneImage("", "", "train", None, 0, b"")
        self._asked: dict[int, list[int]] = {}

    def read(self, ledger: Ledger) -> None:
        self._asked = {}
        last = self.sequences[-1] if self.sequences else 0
        if last and ledger.scenes.images([last]).get(last) != self._last:
            # The ledger at this path is another one now.
            self.forget()
            last = 0
        for part in ledger.scenes.hashes(after=last):
            self.sequences.extend(sequence for sequence, _ in part)
            self.hashes.add([hash for _, hash in part])
        if self.sequences:
            last = self.sequences[-1]
            self._last = ledger.scenes.images([last])[last]

    def near(self, look: Look) -> list[int]:
        """The numbers of the images near a look, nearest first. An answer is kept until the next reading."""
        key = int(look.hash)
        if key not in self._asked:
            self._asked[key] = [self.sequences[place] for place in self.hashes.near(look.hash)]
        return self._asked[key]


@lru_cache(maxsize=2)
def _known_at(url: str) -> _Known:
    return _Known()


@contextmanager
def scenes_alone(workspace: Workspace) -> Iterator[None]:
    """Held while a shard's images get their scenes: two processes at once would not see each other's.

    The kernel releases it when the holder dies.
    """
    with (workspace.root / ".scenes.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
