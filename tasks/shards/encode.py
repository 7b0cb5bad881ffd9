"""Records to members and back.

Source, ground truth and removal of one sample share one codec and quality: a remover would learn the
difference. Masks are 1-bit PNG. What is not a picture lies in ``json``, keys sorted.
"""

import json
from typing import Any, Literal

import cv2
import numpy as np

from data_specs.arrays import Mask, RgbImage
from data_specs.candidate import Candidate
from data_specs.errors import ShardError
from data_specs.pool_item import PoolItem
from data_specs.shard import EncodedSample
from data_specs.triplet import Triplet

PictureFormat = Literal["png", "jpeg"]
"""``png`` is lossless; ``jpeg`` is quality 95 without chroma subsampling, a quarter of the size."""

_SUFFIX = {"png": "png", "jpeg": "jpg"}
_SETTINGS = {
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    "jpeg": [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ],
}


def encode_triplet(triplet: Triplet, picture_format: PictureFormat) -> EncodedSample:
    """Members ``source``, ``mask``, ``ground_truth``, ``json``."""
    return _encode(triplet, picture_format, ("source", "ground_truth"), ("origin",))


def encode_pool_item(item: PoolItem, picture_format: PictureFormat) -> EncodedSample:
    """Members ``source``, ``mask``, ``json``."""
    return _encode(item, picture_format, ("source",), ("origin", "class_name"))


def encode_candidate(candidate: Candidate, picture_format: PictureFormat) -> EncodedSample:
    """Members ``source``, ``mask``, ``removal``, ``json``."""
    texts = ("item", "class_name", "variant", "model_hash", "source_hash")
    return _encode(candidate, picture_format, ("source", "removal"), texts)


def decode_triplet(sample: EncodedSample) -> Triplet:
    """The reverse of `encode_triplet`; raises ShardError for members that do not fit."""
    return Triplet(**_decode(sample, ("source", "ground_truth")))


def decode_pool_item(sample: EncodedSample) -> PoolItem:
    """The reverse of `encode_pool_item`; raises ShardError for members that do not fit."""
    return PoolItem(**_decode(sample, ("source",)))


def decode_candidate(sample: EncodedSample) -> Candidate:
    """The reverse of `encode_candidate`; raises ShardError for members that do not fit."""
    return Candidate(**_decode(sample, ("source", "removal")))


def _encode(
    record: Triplet | PoolItem | Candidate,
    picture_format: PictureFormat,
    pictures: tuple[str, ...],
    texts: tuple[str, ...],
) -> EncodedSample:
    members = {
        f"{name}.{_SUFFIX[picture_format]}": _encode_picture(getattr(record, name), picture_format)
        for name in pictures
    }
    members["mask.png"] = _encode_mask(record.mask)
    known = {name: getattr(record, name) for name in ("key", "scene", "split", *texts)}
    members["json"] = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return EncodedSample(key=record.key, members=members, scene=record.scene, split=record.split)


def _decode(sample: EncodedSample, pictures: tuple[str, ...]) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(sample.members["json"])
        known["mask"] = _decode_mask(sample.members["mask.png"])
        for name in pictures:
            known[name] = _decode_picture(_picture_member(sample, name))
    except (KeyError, ValueError, cv2.error) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {error}") from error
    return known


def _picture_member(sample: EncodedSample, name: str) -> bytes:
    for suffix in _SUFFIX.values():
        found = sample.members.get(f"{name}.{suffix}")
        if found is not None:
            return found
    raise KeyError(f"{name} is not among {', '.join(sorted(sample.members))}")


def _encode_picture(picture: RgbImage, picture_format: PictureFormat) -> bytes:
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    return cv2.imencode(f".{_SUFFIX[picture_format]}", bgr, _SETTINGS[picture_format])[1].tobytes()


def _encode_mask(mask: Mask) -> bytes:
    grey = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def _decode_picture(data: bytes) -> RgbImage:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise ValueError("a picture's bytes are damaged")
    return picture  # pyright: ignore[reportReturnType] - cv2 gives uint8 for this flag


def _decode_mask(data: bytes) -> Mask:
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError("the mask's bytes are damaged")
    return grey != 0
