"""Encode and decode samples: images as PNG or JPEG, masks as 1-bit PNG, layers as lossless PNG."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from data_specs.arrays import Mask, Matte, RgbImage
from data_specs.candidate import Candidate
from data_specs.composite import Composite, PlacedObject
from data_specs.cutout import Cutout, ShadowClass
from data_specs.errors import ShardError
from data_specs.plate import Plate, Tone
from data_specs.pool_item import PoolItem
from data_specs.shard import EncodedSample, ImageFormat
from data_specs.triplet import EffectTriplet, Triplet

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


def encode_image(image: RgbImage, image_format: ImageFormat) -> bytes:
    """The bytes of an H×W×3 uint8 image."""
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    return cv2.imencode(f".{SUFFIX[image_format]}", bgr, _SETTINGS[image_format])[1].tobytes()


def encode_mask(mask: Mask) -> bytes:
    """The bytes of an H×W bool mask."""
    grey = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def decode_image(data: bytes) -> RgbImage:
    """The reverse of `encode_image`. ValueError for damaged bytes."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("an image's bytes are damaged")
    return image  # pyright: ignore[reportReturnType] - cv2 gives uint8 for this flag


def decode_mask(data: bytes) -> Mask:
    """The reverse of `encode_mask`. ValueError for damaged bytes."""
    return decode_matte(data) != 0


def encode_matte(matte: Matte) -> bytes:
    """The bytes of an H×W uint8 matte, lossless."""
    return cv2.imencode(".png", np.ascontiguousarray(matte), _SETTINGS["png"])[1].tobytes()


def decode_matte(data: bytes) -> Matte:
    """The reverse of `encode_matte`. ValueError for damaged bytes."""
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError("a mask's bytes are damaged")
    return np.asarray(grey, np.uint8)


def image_member(sample: EncodedSample, name: str) -> bytes:
    """An image's bytes, whatever its format. KeyError if the sample has no such image."""
    for suffix in SUFFIX.values():
        data = sample.members.get(f"{name}.{suffix}")
        if data is not None:
            return data
    raise KeyError(f"{name} is not among {', '.join(sorted(sample.members))}")


# Triplets, pool items; and, for `candidates.py`, what they have in common with candidates.
#
# Source, ground truth and removal of one sample share one codec and quality: a remover would learn any
# difference. Masks are 1-bit PNG. Other fields are in ``json``, with sorted keys.

_TRIPLET_FIELDS = tuple(field.name for field in fields(Triplet))
_FOREGROUND = "foreground.png"
"""The member of a composite and of an `EffectTriplet` that holds M_fg."""


def encode_triplet(triplet: Triplet, image_format: ImageFormat) -> EncodedSample:
    """Members ``source``, ``mask``, ``ground_truth``, ``json``, and ``foreground`` of one with M_fg."""
    sample = encode_record(triplet, image_format, ("source", "ground_truth"), ("origin",))
    if isinstance(triplet, EffectTriplet):
        sample.members[_FOREGROUND] = encode_mask(triplet.foreground)
    return sample


def encode_pool_item(item: PoolItem, image_format: ImageFormat) -> EncodedSample:
    """Members ``source``, ``mask``, ``json``."""
    return encode_record(item, image_format, ("source",), ("origin", "class_name"))


def decode_triplet(sample: EncodedSample) -> Triplet:
    """The triplet in a sample of stage ``triplets``, ``grown``, ``composites`` or ``truth``.

    Returns:
        An `EffectTriplet` if the sample stores M_fg, as every composite does.

    Raises:
        ShardError: If the members do not fit.
    """
    stored = decode_record(sample, ("source", "ground_truth"))
    try:
        # A composite's facts say more: its objects, its plate, all its scenes.
        words = {name: stored[name] for name in _TRIPLET_FIELDS}
        if _FOREGROUND not in sample.members:
            return Triplet(**words)
        return EffectTriplet(**words, foreground=decode_mask(sample.members[_FOREGROUND]))
    except (KeyError, ValueError, cv2.error) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {error}") from error


def origin_in(member: bytes) -> str:
    """The origin in a ``json`` member, without decoding images. Raises ShardError for a damaged one."""
    try:
        return json.loads(member)["origin"]
    except (KeyError, ValueError, TypeError) as error:
        raise ShardError(f"a sample's facts cannot be decoded: {error}") from error


def decode_pool_item(sample: EncodedSample) -> PoolItem:
    """The reverse of `encode_pool_item`. Raises ShardError for members that do not fit."""
    return PoolItem(**decode_record(sample, ("source",)))


class LastDecoded:
    """Remembers the last decoded image of each name. The same bytes again give the same array."""

    def __init__(self) -> None:
        self._decoded: dict[str, tuple[bytes, NDArray[Any]]] = {}

    def decoded(self, name: str, data: bytes, decode: Callable[[bytes], NDArray[Any]]) -> NDArray[Any]:
        """The array of the bytes, by the function if they are others than last time."""
        before, array = self._decoded.get(name, (None, None))
        if array is None or before != data:
            array = decode(data)
            self._decoded[name] = data, array
        return array


def facts_member(facts: Mapping[str, object]) -> bytes:
    """The member ``json``. The same facts give the same bytes."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def encode_record(
    record: Triplet | PoolItem | Candidate,
    image_format: ImageFormat,
    images: tuple[str, ...],
    texts: tuple[str, ...],
    shared: Mapping[str, bytes] | None = None,
) -> EncodedSample:
    """A record's images, its mask, and its facts.

    Args:
        record: What is stored.
        image_format: The format of its images.
        images: The fields that are images.
        texts: The fields that stand in ``json`` beside key, scene and split.
        shared: Members that exist already.
    """
    members = dict(shared or {})
    for name in images:
        member = f"{name}.{SUFFIX[image_format]}"
        if member not in members:
            members[member] = encode_image(getattr(record, name), image_format)
    if "mask.png" not in members:
        members["mask.png"] = encode_mask(record.mask)
    members["json"] = facts_member(
        {name: getattr(record, name) for name in ("key", "scene", "split", *texts)}
    )
    return EncodedSample(key=record.key, members=members, scene=record.scene, split=record.split)


def decode_record(
    sample: EncodedSample, images: tuple[str, ...], last: LastDecoded | None = None
) -> dict[str, Any]:
    """The reverse of `encode_record`: the record's fields.

    Args:
        sample: What was stored.
        images: The fields that are images.
        last: What was decoded before. The same bytes are not decoded again.

    Raises:
        ShardError: If the members do not fit.
    """
    last = last or LastDecoded()
    try:
        words: dict[str, Any] = json.loads(sample.members["json"])
        words["mask"] = last.decoded("mask", sample.members["mask.png"], decode_mask)
        for name in images:
            words[name] = last.decoded(name, image_member(sample, name), decode_image)
    except (KeyError, ValueError, cv2.error) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {error}") from error
    return words


# Cut-outs, plates and composites.
#
# A cut-out's layers are lossless whatever the format of images: JPEG leaves ringing in a matte. A composite's
# source and ground truth share one codec and quality. Depth is in ``depth.safetensors``.

_LAYERS = {"picture": "image", "darkening": "darkening", "brightening": "brightening"}
"""Member of a cut-out's sample → field of the record. ``picture`` is its name in older shards."""
_LINEAGE = ("key", "scene", "split", "origin")

Record = TypeVar("Record", Cutout, Plate, Composite)


def encode_cutout(cutout: Cutout) -> EncodedSample:
    """Members ``picture``, ``matte``, ``darkening``, ``brightening``, ``json``, all lossless."""
    members = {
        f"{member}.png": encode_image(getattr(cutout, field), "png") for member, field in _LAYERS.items()
    }
    members["matte.png"] = encode_matte(cutout.matte)
    words = (
        *_LINEAGE,
        "class_name",
        "foot",
        "foot_depth",
        "focal_px",
        "depression",
        "bearing",
        "shadow_class",
    )
    return _sample(cutout, members, words, tone=asdict(cutout.tone))


def encode_plate(plate: Plate, image_format: ImageFormat) -> EncodedSample:
    """Members ``picture``, ``ground``, ``depth``, ``json``."""
    members = {
        f"picture.{SUFFIX[image_format]}": encode_image(plate.image, image_format),
        "ground.png": encode_mask(plate.ground),
        "depth.safetensors": save({"depth": plate.depth}),
    }
    return _sample(plate, members, (*_LINEAGE, "focal_px", "horizon"), tone=asdict(plate.tone))


def encode_composite(composite: Composite, image_format: ImageFormat) -> EncodedSample:
    """Members ``source``, ``ground_truth``, ``mask``, ``foreground``, ``json``."""
    members = {
        f"{name}.{SUFFIX[image_format]}": encode_image(getattr(composite, name), image_format)
        for name in ("source", "ground_truth")
    }
    members["mask.png"] = encode_mask(composite.mask)
    members[_FOREGROUND] = encode_mask(composite.foreground)
    words = (*_LINEAGE, "scenes", "plate", "removed")
    return _sample(composite, members, words, objects=[asdict(placed) for placed in composite.objects])


def decode_cutout(sample: EncodedSample) -> Cutout:
    """The reverse of `encode_cutout`. Raises ShardError for members that do not fit."""

    def read(words: dict[str, Any]) -> Cutout:
        words["foot"] = tuple(words["foot"])
        words["matte"] = decode_matte(sample.members["matte.png"])
        for member, field in _LAYERS.items():
            words[field] = decode_image(image_member(sample, member))
        return Cutout(**words)

    return _read(sample, read)


def shadow_class_in(member: bytes) -> ShadowClass:
    """The shadow class in a cut-out's ``json`` member. Raises ShardError for a damaged one."""
    try:
        return json.loads(member)["shadow_class"]
    except (KeyError, ValueError, TypeError) as error:
        raise ShardError(f"a cut-out's facts cannot be decoded: {error}") from error


def decode_plate(sample: EncodedSample) -> Plate:
    """The reverse of `encode_plate`. Raises ShardError for members that do not fit."""

    def read(words: dict[str, Any]) -> Plate:
        return Plate(
            **words,
            image=decode_image(image_member(sample, "picture")),
            ground=decode_mask(sample.members["ground.png"]),
            depth=load(sample.members["depth.safetensors"])["depth"],
        )

    return _read(sample, read)


def decode_composite(sample: EncodedSample) -> Composite:
    """The reverse of `encode_composite`. Raises ShardError for members that do not fit."""

    def read(words: dict[str, Any]) -> Composite:
        words["scenes"] = tuple(words["scenes"])
        words["objects"] = tuple(
            PlacedObject(**{**facts, "foot": tuple(facts["foot"])}) for facts in words["objects"]
        )
        return Composite(
            **words,
            source=decode_image(image_member(sample, "source")),
            ground_truth=decode_image(image_member(sample, "ground_truth")),
            mask=decode_mask(sample.members["mask.png"]),
            foreground=decode_mask(sample.members[_FOREGROUND]),
        )

    return _read(sample, read)


def _sample(
    record: Cutout | Plate | Composite, members: dict[str, bytes], words: tuple[str, ...], **more: object
) -> EncodedSample:
    text = facts_member({name: getattr(record, name) for name in words} | more)
    return EncodedSample(
        key=record.key, members=members | {"json": text}, scene=record.scene, split=record.split
    )


def _read(sample: EncodedSample, read: Callable[[dict[str, Any]], Record]) -> Record:
    try:
        words: dict[str, Any] = json.loads(sample.members["json"])
        if "tone" in words:
            tone = words["tone"]
            words["tone"] = Tone(mean_rgb=tuple(tone["mean_rgb"]), grain=tone["grain"])
        return read(words)
    except (KeyError, ValueError, TypeError, cv2.error, SafetensorError) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {error}") from error
