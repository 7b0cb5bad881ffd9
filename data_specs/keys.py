"""Derive keys from content: the same work gives the same key. Keys are never random."""

import hashlib
from pathlib import PurePath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
"""``train`` feeds models, ``validation`` calibrates and chooses them, no phase sees ``test``."""


def derive_key(*parts: object) -> str:
    """20 hexadecimal digits that name ``parts``.

    Parts are joined with type and length, so ("ab", "c") and ("a", "bc") differ.

    Args:
        parts: str, int, float, bool, None, bytes, a path, or an array (shape and dtype count).

    Raises:
        TypeError: For a part of any other type. Its text might differ from run to run.
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
        # A name that is not UTF-8 holds lone surrogates. Plain encoding refuses them.
        return str(part).encode("utf-8", "surrogatepass")
    raise TypeError(f"a key cannot be derived from a {type(part).__name__}; give text or numbers")


def image_hash(image: NDArray[np.generic]) -> str:
    """The key of an image's or mask's pixels (shape and dtype count)."""
    return derive_key("picture", np.asarray(image))


def split_of_scene(scene: str, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """The split of a scene, from its key alone. Samples of one scene are therefore never in two splits.

    Args:
        scene: The scene's key. Everything cut from one scene carries it.
        validation: Fraction of scenes for validation, 0..1.
        test: Fraction of scenes for test, 0..1.
    """
    fraction = int(hashlib.sha256(f"split:{scene}".encode()).hexdigest()[:13], 16) / 16**13
    if fraction < test:
        return "test"
    return "validation" if fraction < test + validation else "train"
