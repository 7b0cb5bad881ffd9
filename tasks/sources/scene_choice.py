"""Which scene a picture read from a file belongs to: by what its source says, else by the picture."""

import re
from pathlib import Path
from typing import Protocol

from data_specs.arrays import RgbImage
from data_specs.keys import Split, derive_key, picture_hash, split_of_scene

_FRAME = re.compile(r"(?P<film>(?:.*[^a-z])?frames?)[ _.-]*\d+", re.IGNORECASE)
"""``frame_0012``, ``street-frame12``; but ``IMG_0012`` is a camera's next photograph."""


class SplitShares(Protocol):
    """The shares of scenes that are held out."""

    @property
    def validation_share(self) -> float:
        """0..0.5."""
        ...

    @property
    def test_share(self) -> float:
        """0..0.5."""
        ...


class SceneChoice(Protocol):
    """Chooses the scene and the split of a picture."""

    def __call__(
        self, path: Path, picture: RgbImage, shares: SplitShares, lineage: str | None
    ) -> tuple[str, Split]:
        """Scene and split.

        Args:
            path: For what is said to people.
            picture: H×W×3 uint8: the whole ground truth, or the pool's whole picture.
            shares: For a scene that is new.
            lineage: The key of the scene or the film that the source says it is of; None: unsaid.

        Raises:
            RejectedPicture: TWO_SPLITS, when it would join scenes of two splits.
        """
        ...


def by_pixels(path: Path, picture: RgbImage, shares: SplitShares, lineage: str | None) -> tuple[str, Split]:
    """Without a ledger: the scene that the source names, else one for each picture."""
    scene = new_scene(picture_hash(picture), lineage)
    return scene, split_of_new(scene, shares)


def new_scene(picture: str, lineage: str | None) -> str:
    """The name of a scene that nothing is known of."""
    return lineage or derive_key("scene", picture)


def split_of_new(scene: str, shares: SplitShares) -> Split:
    """The split of a scene that nothing is known of."""
    return split_of_scene(scene, validation=shares.validation_share, test=shares.test_share)


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
