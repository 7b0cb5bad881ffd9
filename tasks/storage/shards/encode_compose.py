"""Cut-outs, plates and composites to members and back, the way ``encode.py`` does triplets.

A cut-out's layers are lossless whatever the format of pictures: a matte that has been through JPEG rings.
A composite's source and ground truth share one codec and quality. Depth lies in ``depth.safetensors``.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import cv2
from safetensors import SafetensorError
from safetensors.numpy import load, save

from data_specs.composite import Composite, PlacedObject
from data_specs.cutout import Cutout, ShadowClass
from data_specs.errors import ShardError
from data_specs.plate import Plate
from data_specs.shard import EncodedSample
from data_specs.tone import Tone
from tasks.storage.shards.codecs import (
    SUFFIX,
    PictureFormat,
    decode_mask,
    decode_matte,
    decode_picture,
    encode_mask,
    encode_matte,
    encode_picture,
    picture_member,
)

_LAYERS = ("picture", "darkening", "brightening")
_LINEAGE = ("key", "scene", "split", "origin")

Record = TypeVar("Record", Cutout, Plate, Composite)


def encode_cutout(cutout: Cutout) -> EncodedSample:
    """Members ``picture``, ``matte``, ``darkening``, ``brightening``, ``json``; all lossless."""
    members = {f"{name}.png": encode_picture(getattr(cutout, name), "png") for name in _LAYERS}
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


def encode_plate(plate: Plate, picture_format: PictureFormat) -> EncodedSample:
    """Members ``picture``, ``ground``, ``depth``, ``json``."""
    members = {
        f"picture.{SUFFIX[picture_format]}": encode_picture(plate.picture, picture_format),
        "ground.png": encode_mask(plate.ground),
        "depth.safetensors": save({"depth": plate.depth}),
    }
    return _sample(plate, members, (*_LINEAGE, "focal_px", "horizon"), tone=asdict(plate.tone))


def encode_composite(composite: Composite, picture_format: PictureFormat) -> EncodedSample:
    """Members ``source``, ``ground_truth``, ``mask``, ``foreground``, ``json``."""
    members = {
        f"{name}.{SUFFIX[picture_format]}": encode_picture(getattr(composite, name), picture_format)
        for name in ("source", "ground_truth")
    }
    members["mask.png"] = encode_mask(composite.mask)
    members["foreground.png"] = encode_mask(composite.foreground)
    words = (*_LINEAGE, "scenes", "plate", "removed")
    return _sample(composite, members, words, objects=[asdict(each) for each in composite.objects])


def decode_cutout(sample: EncodedSample) -> Cutout:
    """The reverse of `encode_cutout`; raises ShardError for members that do not fit."""

    def read(words: dict[str, Any]) -> Cutout:
        words["foot"] = tuple(words["foot"])
        words["matte"] = decode_matte(sample.members["matte.png"])
        for name in _LAYERS:
            words[name] = decode_picture(picture_member(sample, name))
        return Cutout(**words)

    return _read(sample, read)


def shadow_class_in(sample: EncodedSample) -> ShadowClass:
    """A cut-out's shadow class, without decoding its layers; raises ShardError for a damaged sample."""
    try:
        return json.loads(sample.members["json"])["shadow_class"]
    except (KeyError, ValueError, TypeError) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {error}") from error


def decode_plate(sample: EncodedSample) -> Plate:
    """The reverse of `encode_plate`; raises ShardError for members that do not fit."""

    def read(words: dict[str, Any]) -> Plate:
        return Plate(
            **words,
            picture=decode_picture(picture_member(sample, "picture")),
            ground=decode_mask(sample.members["ground.png"]),
            depth=load(sample.members["depth.safetensors"])["depth"],
        )

    return _read(sample, read)


def decode_composite(sample: EncodedSample) -> Composite:
    """The reverse of `encode_composite`; raises ShardError for members that do not fit."""

    def read(words: dict[str, Any]) -> Composite:
        words["scenes"] = tuple(words["scenes"])
        words["objects"] = tuple(
            PlacedObject(**{**each, "foot": tuple(each["foot"])}) for each in words["objects"]
        )
        return Composite(
            **words,
            source=decode_picture(picture_member(sample, "source")),
            ground_truth=decode_picture(picture_member(sample, "ground_truth")),
            mask=decode_mask(sample.members["mask.png"]),
            foreground=decode_mask(sample.members["foreground.png"]),
        )

    return _read(sample, read)


def _sample(
    record: Cutout | Plate | Composite, members: dict[str, bytes], words: tuple[str, ...], **more: object
) -> EncodedSample:
    known = {name: getattr(record, name) for name in words} | more
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return EncodedSample(
        key=record.key, members=members | {"json": text.encode()}, scene=record.scene, split=record.split
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
