"""Match images, masks and output files, given as arguments or by their stems in folders."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from tasks.sources.image_files import IMAGE_SUFFIXES, images_in
from tasks.storage.atomic_files import write_durably

# Write an image where a user wants it: complete or not at all, with a clear sentence if it fails.

_JPEG_QUALITY = 95


def check_writable(path: Path) -> None:
    """Make the folder of an image to be written, and check that it is writable.

    Raises:
        InputError: If the suffix is neither PNG nor JPEG, or nothing can be written there.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(path, "images are written as PNG or JPEG; end the name in .png or .jpg")
    if path.is_dir():
        raise InputError(path, "is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(path, f"its folder cannot be made ({error.strerror}); choose another") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(path, "this folder cannot be written to; choose another, or change its permissions")


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image in the format of its suffix, atomically. An old file is replaced.

    Args:
        path: Ends in .png (lossless) or .jpg (quality 95).
        pixels: H×W×3 uint8 RGB, or H×W uint8 grey.

    Raises:
        InputError: If the disk refuses it. The old file is then unchanged.
    """
    suffix = path.suffix.lower()
    settings = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    coded, data = cv2.imencode(suffix, stored, settings)
    if not coded:
        raise InputError(
            path, f"OpenCV cannot write {pixels.shape[1]}×{pixels.shape[0]} pixels in this format; use PNG"
        )
    try:
        write_durably(path, data.tobytes())
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror}); name another file") from error


_NUMBERED = re.compile(r"(?P<stem>.+)\.(?P<number>\d+)")


@dataclass(frozen=True, slots=True)
class RemovalFiles:
    """One image, its masks in the order of removal, and the output file."""

    source: Path
    masks: tuple[Path, ...]
    out: Path

    def beside(self, kind: str) -> Path:
        """The path of another image beside the removal: ``out.png`` → ``out.compare.png``."""
        return self.out.with_name(f"{self.out.stem}.{kind}.png")


def match_files(source: Path, masks: Sequence[Path], out: Path) -> list[RemovalFiles | Reject]:
    """Match images with masks. No file is opened.

    In a mask folder, the masks of an image ``STEM.jpg`` are ``STEM.png``, ``STEM.1.png``, ``STEM.2.png`` …,
    in this order. Several mask arguments follow each other.

    Args:
        source: An image, or a folder of images.
        masks: Files or folders for an image; folders for a folder.
        out: An image's name, or a folder for ``STEM.png``. A missing folder is made.

    Returns:
        The matches in the order of stems. A reject for each stem that lacks its image or its mask.

    Raises:
        InputError: If an argument does not exist, or does not fit the others.
    """
    for path in (source, *masks):
        if not path.exists():
            raise InputError(path, "does not exist; name an existing file or folder")
    if not source.is_dir():
        return [_for_one_image(source, masks, out)]
    for path in masks:
        if not path.is_dir():
            raise InputError(path, f"is a file, but {source} is a folder; name a folder of masks")
    folders = [path.resolve() for path in (source, *masks, out)]
    if len(set(folders)) < len(folders):
        raise InputError(out, "images, masks and removals must lie in different folders")
    if out.exists() and not out.is_dir():
        raise InputError(out, f"is a file, but {source} is a folder; name a folder")
    return _for_a_folder(source, masks, out)


def _for_one_image(source: Path, masks: Sequence[Path], out: Path) -> RemovalFiles:
    paths: list[Path] = []
    for path in masks:
        belonging = _masks_by_stem(path, {source.stem}).get(source.stem, []) if path.is_dir() else [path]
        if not belonging:
            raise InputError(path, f"it holds no mask {source.stem}.png or {source.stem}.1.png")
        paths += belonging
    is_folder = out.is_dir() or not out.suffix
    files = RemovalFiles(source, tuple(paths), out / f"{source.stem}.png" if is_folder else out)
    for path in (source, *paths):
        if files.out.resolve() == path.resolve():
            raise InputError(
                files.out, "the removal would overwrite its own image or mask; name another file"
            )
    return files


def _for_a_folder(source: Path, masks: Sequence[Path], out: Path) -> list[RemovalFiles | Reject]:
    images: dict[str, list[Path]] = {}
    for path in images_in(source):
        images.setdefault(path.stem, []).append(path)
    by_stem: dict[str, list[Path]] = {}
    for folder in masks:
        for stem, paths in _masks_by_stem(folder, set(images)).items():
            by_stem.setdefault(stem, []).extend(paths)
    matched: list[RemovalFiles | Reject] = []
    for stem in sorted(set(images) | set(by_stem)):
        if stem not in images:
            matched.append(_reject(stem, RejectReason.MISSING_FILE, "no image has the name of this mask"))
        elif stem not in by_stem:
            matched.append(_reject(stem, RejectReason.MISSING_FILE, "no mask has the name of this image"))
        elif len(images[stem]) > 1:
            matched.append(_reject(stem, RejectReason.BAD_RECORD, "several images have this stem"))
        else:
            matched.append(RemovalFiles(images[stem][0], tuple(by_stem[stem]), out / f"{stem}.png"))
    return matched


def _masks_by_stem(folder: Path, stems: set[str]) -> dict[str, list[Path]]:
    """The masks of each image: the plain name first, then by number."""
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for path in images_in(folder):
        match = _NUMBERED.fullmatch(path.stem)
        if match and path.stem not in stems:
            numbered.setdefault(match["stem"], []).append((int(match["number"]), path))
        else:
            numbered.setdefault(path.stem, []).append((-1, path))
    return {stem: [path for _, path in sorted(numbers)] for stem, numbers in numbered.items()}


def _reject(stem: str, reason: RejectReason, detail: str) -> Reject:
    return Reject(source="remove", name=stem, reason=reason, detail=detail)
