"""Writing a picture where a user asked for it: whole or not at all, and a clear sentence if it cannot be."""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from tasks.storage.atomic_files import write_durably

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_JPEG_QUALITY = 95


def check_writable(path: Path) -> None:
    """Make the folder of a picture that is to be written, and see that it can be written there.

    Raises:
        InputError: If the name ends in no suffix of PNG or JPEG, or nothing can be written there.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(path, "pictures are written as PNG or JPEG; end the name in .png or .jpg")
    if path.is_dir():
        raise InputError(path, "is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(path, f"its folder cannot be made ({error.strerror}); choose another") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(path, "nothing can be written in this folder; choose another or change its rights")


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture by its name's suffix, aside first, replacing what was there.

    Args:
        path: Ends in .png (to the bit) or .jpg (quality 95).
        pixels: H×W×3 uint8 RGB, or H×W uint8 grey.

    Raises:
        InputError: If the disk refuses it; the file is then as it was.
    """
    suffix = path.suffix.lower()
    settings = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    coded, data = cv2.imencode(suffix, stored, settings)
    if not coded:
        raise InputError(
            path, f"OpenCV cannot write {pixels.shape[1]}×{pixels.shape[0]} pixels in this format"
        )
    try:
        write_durably(path, data.tobytes())
    except OSError as error:
        raise InputError(path, f"it cannot be written ({error.strerror})") from error
