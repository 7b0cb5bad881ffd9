"""The codec of the members: pictures as PNG or JPEG, masks as PNG of one bit, layers as lossless PNG."""

from typing import Literal

import cv2
import numpy as np

from data_specs.arrays import Mask, Matte, RgbImage
from data_specs.shard import EncodedSample

PictureFormat = Literal["png", "jpeg"]
"""``png`` is lossless; ``jpeg`` is quality 95 without chroma subsampling, a quarter of the size."""

SUFFIX = {"png": "png", "jpeg": "jpg"}
_SETTINGS = {
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    "jpeg": [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ],
}


def encode_picture(picture: RgbImage, picture_format: PictureFormat) -> bytes:
    """The bytes of an H×W×3 uint8 picture."""
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    return cv2.imencode(f".{SUFFIX[picture_format]}", bgr, _SETTINGS[picture_format])[1].tobytes()


def encode_mask(mask: Mask) -> bytes:
    """The bytes of an H×W bool mask."""
    grey = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def decode_picture(data: bytes) -> RgbImage:
    """The reverse of `encode_picture`; ValueError for damaged bytes."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise ValueError("a picture's bytes are damaged")
    return picture  # pyright: ignore[reportReturnType] - cv2 gives uint8 for this flag


def decode_mask(data: bytes) -> Mask:
    """The reverse of `encode_mask`; ValueError for damaged bytes."""
    return decode_matte(data) != 0


def encode_matte(matte: Matte) -> bytes:
    """The bytes of an H×W uint8 matte, lossless."""
    return cv2.imencode(".png", np.ascontiguousarray(matte), _SETTINGS["png"])[1].tobytes()


def decode_matte(data: bytes) -> Matte:
    """The reverse of `encode_matte`; ValueError for damaged bytes."""
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError("a mask's bytes are damaged")
    return np.asarray(grey, np.uint8)


def picture_member(sample: EncodedSample, name: str) -> bytes:
    """A picture's bytes, whichever format it has; KeyError where the sample has no such picture."""
    for suffix in SUFFIX.values():
        found = sample.members.get(f"{name}.{suffix}")
        if found is not None:
            return found
    raise KeyError(f"{name} is not among {', '.join(sorted(sample.members))}")
