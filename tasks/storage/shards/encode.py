"""Records to members and back.

Source, ground truth and removal of one sample share one codec and quality: a remover would learn the
difference. Masks are 1-bit PNG. What is not a picture lies in ``json``, keys sorted.
"""

import json
from typing import Any

import cv2

from data_specs.candidate import Candidate
from data_specs.errors import ShardError
from data_specs.pool_item import PoolItem
from data_specs.shard import EncodedSample
from data_specs.triplet import Triplet
from tasks.storage.shards.codecs import (
    SUFFIX,
    PictureFormat,
    decode_mask,
    decode_picture,
    encode_mask,
    encode_picture,
    picture_member,
)


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
        f"{name}.{SUFFIX[picture_format]}": encode_picture(getattr(record, name), picture_format)
        for name in pictures
    }
    members["mask.png"] = encode_mask(record.mask)
    known = {name: getattr(record, name) for name in ("key", "scene", "split", *texts)}
    members["json"] = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return EncodedSample(key=record.key, members=members, scene=record.scene, split=record.split)


def _decode(sample: EncodedSample, pictures: tuple[str, ...]) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(sample.members["json"])
        known["mask"] = decode_mask(sample.members["mask.png"])
        for name in pictures:
            known[name] = decode_picture(picture_member(sample, name))
    except (KeyError, ValueError, cv2.error) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {error}") from error
    return known
