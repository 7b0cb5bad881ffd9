"""Read images and masks from files: each file becomes an array, or a named reason why not.

Pillow reads the header (size, depth, channels, orientation) without decoding a pixel. simplejpeg, which
reports damage, and cv2 (PNG) decode the pixels. The reasons are in
``docs/development/decisions/0010-sources.md`` and
``docs/development/decisions/0093-nothing-lost-silently.md``.
"""

import os
import re
import stat
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path, PurePath
from typing import Annotated, BinaryIO

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from data_specs.arrays import Mask, RgbImage
from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
LIMIT_PIXELS = 64_000_000
"""Larger than any photograph that trains a remover. Smaller than what would fill a worker's memory."""
MaxPixels = Annotated[
    int,
    Field(
        ge=1,
        le=1_000_000_000,
        description="Maximum number of pixels of an image. Larger images are refused without decoding.",
    ),
]

_UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_EIGHT_BIT_MODES = {"RGB", "L", "P", "1", "RGBA", "LA", "PA"}
_GREY_MARGIN = 32
"""JPEG artifacts at a mask's edges are smaller than this."""
_SIXTEEN_BIT = re.compile(r"^(I|F)")


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image's file that lies in a table, under a name for messages."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


ImageFile = Path | ImageBytes
"""Where an image's file is: on the disk, or in memory."""


class RejectedImage(InputError):
    """One image is refused. Its sample becomes a ``Reject``, and the run continues.

    Args:
        path: The file.
        reason: The named reason.
        detail: Numbers, or the decoder's message.
    """

    def __init__(self, path: object, reason: RejectReason, detail: str = "") -> None:
        super().__init__(path, f"{reason.value} ({detail})" if detail else reason.value)
        self.reason = reason
        self.detail = detail

    def as_reject(self, source: str, name: str) -> Reject:
        """The record for the ledger: ``source`` refused ``name``."""
        return Reject(
            source=source, name=name, reason=self.reason, detail=f"{Path(self.where).name}: {self.fault}"
        )


def images_in(folder: Path) -> list[Path]:
    """The files with a JPEG or PNG name, in order.

    Raises:
        InputError: If the folder is missing.
    """
    if not folder.is_dir():
        raise InputError(folder, "is not a folder; name a folder of images")
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
    ]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image's header says. Nothing has been decoded."""

    height: int
    width: int
    mode: str
    """Pillow's name of the channels: ``RGB``, ``L``, ``P``, ``RGBA``, ``CMYK``, ``I;16`` …"""
    format: str
    """``JPEG``, ``PNG`` …"""
    orientation: int
    """EXIF orientation, 1..8. 1 = upright."""


def image_facts(path: ImageFile, *, max_pixels: int = LIMIT_PIXELS) -> ImageFacts:
    """Read an image's header.

    Raises:
        RejectedImage: MISSING_FILE, UNREADABLE or TOO_MANY_PIXELS.
    """
    try:
        # Only these two formats: every further parser is a target for hostile files.
        with opened_image(path) as file, Image.open(file, formats=("JPEG", "PNG")) as opened:
            width, height = opened.size
            orientation = _orientation(opened)
            facts = ImageFacts(height, width, opened.mode, str(opened.format), orientation)
    except Image.DecompressionBombError as error:
        raise RejectedImage(path, RejectReason.TOO_MANY_PIXELS, str(error)) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, struct.error) as error:
        raise RejectedImage(
            path, RejectReason.UNREADABLE, "neither JPEG nor PNG, or its header is broken"
        ) from error
    if width * height > max_pixels:
        raise RejectedImage(
            path, RejectReason.TOO_MANY_PIXELS, f"{width}×{height} is over {max_pixels} pixels"
        )
    return facts


@contextmanager
def opened_image(path: ImageFile) -> Iterator[BinaryIO]:
    """Open an image's file for reading, wherever it is. Raises as ``opened_file``."""
    if isinstance(path, ImageBytes):
        yield BytesIO(path.data)
        return
    with opened_file(path) as file:
        yield file


@contextmanager
def opened_file(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading. It never waits for a pipe or a device, even one that just replaced it.

    Raises:
        RejectedImage: MISSING_FILE if it is no regular file, UNREADABLE if it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except PermissionError as error:
        raise RejectedImage(path, RejectReason.UNREADABLE, "permission denied") from error
    except (OSError, ValueError) as error:
        raise RejectedImage(path, RejectReason.MISSING_FILE, "no regular file of this name") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RejectedImage(path, RejectReason.MISSING_FILE, "no regular file of this name")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_image(path: ImageFile, *, max_pixels: int = LIMIT_PIXELS) -> RgbImage:
    """Read a JPEG or PNG as H×W×3 uint8 RGB, in the stored orientation.

    Grey becomes RGB. An alpha channel is refused unless it is opaque everywhere, because the colours under
    transparent pixels are arbitrary. An image that EXIF rotates is refused: viewers would rotate it, but not
    a mask drawn without EXIF. A check of the sizes does not find a rotation by 180°.

    Raises:
        RejectedImage: MISSING_FILE, UNREADABLE, TOO_MANY_PIXELS, NOT_8_BIT, NOT_RGB,
            ROTATED_BY_EXIF, TRUNCATED or DAMAGED.
    """
    facts = image_facts(path, max_pixels=max_pixels)
    if _SIXTEEN_BIT.match(facts.mode) or _png_bit_depth(path, facts) == 16:
        raise RejectedImage(path, RejectReason.NOT_8_BIT, f"mode {facts.mode}, 16 bits or more a channel")
    if facts.mode not in _EIGHT_BIT_MODES:
        raise RejectedImage(path, RejectReason.NOT_RGB, f"mode {facts.mode}")
    if facts.orientation != _UPRIGHT:
        raise RejectedImage(
            path, RejectReason.ROTATED_BY_EXIF, f"orientation {facts.orientation}, turn its pixels"
        )
    pixels = _decode(path, facts)
    if pixels.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    if pixels.shape[2] == 4:
        if pixels[..., 3].min() < 255:
            raise RejectedImage(path, RejectReason.NOT_RGB, "it has transparent pixels, flatten it first")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def read_mask(path: ImageFile, *, max_pixels: int = LIMIT_PIXELS) -> Mask:
    """Read a mask as H×W bool: True where the file's grey is above half its range.

    Colour files pass if their channels agree (except for JPEG's rounding). 16-bit grey passes too, because a
    mask has only two levels.

    Raises:
        RejectedImage: As ``read_image``, and MASK_EMPTY or MASK_FULL.
    """
    return read_soft_mask(path, max_pixels=max_pixels)[0]


def read_soft_mask(path: ImageFile, *, max_pixels: int = LIMIT_PIXELS) -> tuple[Mask, float]:
    """Read a mask like ``read_mask``, and measure how soft the file is.

    Returns:
        The mask, H×W bool, and the number of grey pixels for each marked pixel. Grey is more than 32 levels
        from black and from white. 0 for a clean mask.

    Raises:
        RejectedImage: As ``read_mask``.
    """
    facts = image_facts(path, max_pixels=max_pixels)
    if facts.orientation != _UPRIGHT:
        raise RejectedImage(
            path, RejectReason.ROTATED_BY_EXIF, f"orientation {facts.orientation}, turn its pixels"
        )
    levels = _single_channel(path, _decode(path, facts))
    mask = levels > 127
    if not mask.any():
        maximum = int(levels.max())
        detail = f"its maximum level is {maximum}, and the object must have 255" if maximum else ""
        raise RejectedImage(path, RejectReason.MASK_EMPTY, detail)
    if mask.all():
        raise RejectedImage(path, RejectReason.MASK_FULL)
    grey = (levels > _GREY_MARGIN) & (levels < 255 - _GREY_MARGIN)
    return mask, float(grey.sum() / mask.sum())


def check_same_size(path: ImageFile, size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Compare ``path``'s size (rows, columns) with the source's.

    Raises:
        RejectedImage: SIZE_MISMATCH.
    """
    if size != expected:
        detail = f"{size[1]}×{size[0]} beside a source of {expected[1]}×{expected[0]}"
        raise RejectedImage(path, RejectReason.SIZE_MISMATCH, detail)


def path_inside(folder: Path, relative: str, parts: Collection[str] = ()) -> Path:
    """The file that ``relative`` names, with every link resolved. It need not exist.

    Args:
        folder: The folder that must not be left.
        relative: A path below it.
        parts: Names of folders directly in ``folder`` that may be links to elsewhere. Files in such a folder
            may not leave its real location.

    Raises:
        RejectedImage: OUTSIDE_FOLDER if it leaves ``folder`` (by .., an absolute path or a link), BAD_RECORD
            if it cannot name a file.
    """
    try:
        relative.encode()  # A name that is not UTF-8 could not be written anywhere.
        resolved = (folder / relative).resolve()
        first = PurePath(relative).parts[:1]
        roots = [folder.resolve(), *((folder / name).resolve() for name in first if name in parts)]
    except (OSError, ValueError, RuntimeError) as error:
        raise RejectedImage(repr(relative), RejectReason.BAD_RECORD, "it can name no file") from error
    if not any(resolved.is_relative_to(root) for root in roots):
        detail = (
            f"it leads out of {folder.name}; copy the file there, because only {_listed(parts)} may be a link"
        )
        raise RejectedImage(
            relative, RejectReason.OUTSIDE_FOLDER, detail if parts else f"it leaves {folder.name}"
        )
    return resolved


def _listed(parts: Collection[str]) -> str:
    return ", ".join(f"{part}/" for part in parts)


def _orientation(opened: Image.Image) -> int:
    try:
        value = opened.getexif().get(_ORIENTATION_TAG, _UPRIGHT)
    except (OSError, ValueError, SyntaxError, struct.error):
        return _UPRIGHT  # A broken EXIF block rotates nothing: viewers ignore it too.
    return value if isinstance(value, int) and 1 <= value <= 8 else _UPRIGHT


def _png_bit_depth(path: ImageFile, facts: ImageFacts) -> int:
    """The depth in a PNG's header. Pillow calls 16-bit RGB plain ``RGB``."""
    if facts.format != "PNG":
        return 8
    with opened_image(path) as file:
        return file.read(25)[24]


def _decode(path: ImageFile, facts: ImageFacts) -> np.ndarray:
    """Decode a complete file, never half of one: H×W or H×W×C, blue first."""
    with opened_image(path) as file:
        raw = file.read()
    _check_whole(path, raw, facts.format)
    pixels = _decode_jpeg(path, raw, facts) if facts.format == "JPEG" else _decode_png(path, raw)
    if pixels.shape[:2] != (facts.height, facts.width):
        raise RejectedImage(path, RejectReason.UNREADABLE, "header and pixels disagree about the size")
    return pixels


def _decode_jpeg(path: ImageFile, raw: bytes, facts: ImageFacts) -> np.ndarray:
    """The same pixels as cv2 gives. cv2 silently paints grey what it cannot decode."""
    if facts.mode not in ("L", "RGB"):
        raise RejectedImage(path, RejectReason.NOT_RGB, f"mode {facts.mode}")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(raw, strict=True)
        if (height, width) != (facts.height, facts.width):
            raise RejectedImage(path, RejectReason.UNREADABLE, "two headers disagree about the size")
        colours = "GRAY" if facts.mode == "L" else "BGR"
        pixels = simplejpeg.decode_jpeg(raw, colorspace=colours, strict=True)
    except ValueError as error:
        raise RejectedImage(path, RejectReason.DAMAGED, str(error)) from error
    return pixels[..., 0] if facts.mode == "L" else pixels


def _decode_png(path: ImageFile, raw: bytes) -> np.ndarray:
    try:
        pixels = cv2.imdecode(
            np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise RejectedImage(path, RejectReason.UNREADABLE, "the decoder refused it") from error
    if pixels is None:
        raise RejectedImage(path, RejectReason.UNREADABLE, "the decoder refused it")
    return pixels


def _check_whole(path: ImageFile, raw: bytes, file_format: str) -> None:
    """Distinguish a truncated file from a damaged one."""
    if file_format == "JPEG" and not _jpeg_is_whole(raw):
        raise RejectedImage(path, RejectReason.TRUNCATED, "JPEG without its end marker")
    if file_format == "PNG":
        fault = _png_fault(raw)
        if fault:
            raise RejectedImage(path, RejectReason.TRUNCATED, fault)


def _jpeg_is_whole(raw: bytes) -> bool:
    """True if the end marker follows the last scan. More bytes may follow it."""
    scan = raw.rfind(b"\xff\xda")
    return scan >= 0 and raw.find(b"\xff\xd9", scan) >= 0


def _png_fault(raw: bytes) -> str:
    """What a PNG lacks: every chunk up to IEND must exist with its checksum. "" if nothing is missing."""
    at = 8
    while at + 12 <= len(raw):
        (length,) = struct.unpack_from(">I", raw, at)
        kind = raw[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(raw):
            break
        if zlib.crc32(raw[at + 4 : end - 4]) != struct.unpack_from(">I", raw, end - 4)[0]:
            return f"PNG whose {kind.decode('latin-1')} chunk has a wrong checksum"
        if kind == b"IEND":
            return ""
        at = end
    return "PNG without its end chunk"


def _single_channel(path: ImageFile, pixels: np.ndarray) -> np.ndarray:
    """A mask file's one channel as H×W uint8. An alpha channel is ignored."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise RejectedImage(path, RejectReason.NOT_8_BIT, f"a mask of {pixels.dtype}")
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., :3]
    if int(np.ptp(colours, axis=2).max()) > 16:
        raise RejectedImage(
            path, RejectReason.NOT_RGB, "a coloured image where a black and white mask should be"
        )
    return np.ascontiguousarray(colours[..., 1])
