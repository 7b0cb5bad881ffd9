"""Keys are derived from what they name, never drawn: the same work gives the same key."""

import hashlib
from pathlib import PurePath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
"""``train`` feeds models, ``validation`` calibrates and chooses them, ``test`` is seen by no phase."""


def derive_key(*parts: object) -> str:
    """20 hexadecimal digits naming ``parts``.

    Parts are joined with their type and length, so ("ab", "c") and ("a", "bc") differ.

    Args:
        parts: str, int, float, bool, None, bytes, a path, or an array (shape and dtype count).

    Raises:
        TypeError: For a part of any other type, whose text might differ from run to run.
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = _bytes_of(part)
        digest.update(f"{type(part).__name__}:{len(raw)}:".encode())
        digest.update(raw)
    return digest.hexdigest()[:20]


def _bytes_of(part: object) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, np.ndarray):
        return f"{part.shape}{part.dtype.str}".encode() + np.ascontiguousarray(part).tobytes()
    if part is None or isinstance(part, (str, int, float, bool, PurePath)):
        # A name that is no UTF-8 holds lone surrogates, which plain encoding refuses.
        return str(part).encode("utf-8", "surrogatepass")
    raise TypeError(f"a key cannot be derived from a {type(part).__name__}")


def image_hash(image: NDArray[np.generic]) -> str:
    """The key of an image's or mask's pixels (shape and dtype count)."""
    return derive_key("picture", np.asarray(image))


def split_of_scene(scene: str, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """The split a scene belongs to, by its name alone, so that lineage never crosses splits.

    Args:
        scene: The scene's key; everything cut from one scene carries it.
        validation: Share of scenes for validation, 0..1.
        test: Share of scenes for test, 0..1.
    """
    fraction = int(hashlib.sha256(f"split:{scene}".encode()).hexdigest()[:13], 16) / 16**13
    if fraction < test:
        return "test"
    return "validation" if fraction < test + validation else "train"
