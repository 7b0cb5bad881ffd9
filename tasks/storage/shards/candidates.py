"""Encode and decode candidates, and make triplets of them. Those of an item share source and mask."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import cv2

from data_specs.candidate import Candidate
from data_specs.errors import ShardError
from data_specs.shard import EncodedSample, ImageFormat
from tasks.storage.shards.codecs import (
    SUFFIX,
    LastDecoded,
    decode_image,
    decode_record,
    encode_image,
    encode_record,
    facts_member,
    image_member,
)


def encode_candidate(
    candidate: Candidate, image_format: ImageFormat, shared: Mapping[str, bytes] | None = None
) -> EncodedSample:
    """Members ``source``, ``mask``, ``removal``, ``json``.

    Args:
        candidate: The candidate.
        image_format: The format of its images.
        shared: Its source and its mask from `source_members`, in this format. None: they are encoded here.
    """
    texts = ("item", "class_name", "variant", "model_hash", "source_hash")
    sample = encode_record(candidate, image_format, ("source", "removal"), texts, shared)
    return replace(sample, item=candidate.item)


def source_members(sample: EncodedSample, image_format: ImageFormat) -> dict[str, bytes]:
    """The members ``source`` and ``mask`` that all candidates of a pool item share.

    They are copied. A source in another format is encoded again, as every image of a candidate has one
    format. Raises ShardError for members that do not fit.
    """
    name = f"source.{SUFFIX[image_format]}"
    try:
        source = sample.members.get(name)
        if source is None:
            source = encode_image(decode_image(image_member(sample, "source")), image_format)
        return {name: source, "mask.png": sample.members["mask.png"]}
    except (KeyError, ValueError, cv2.error) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {error}") from error


def as_grown(sample: EncodedSample, key: str, origin: str) -> EncodedSample:
    """A candidate's sample as a triplet's: the removal becomes the ground truth. No image is decoded.

    Args:
        sample: The candidate's.
        key: The triplet's key.
        origin: The triplet's origin.

    Raises:
        ShardError: If the sample is not a candidate's.
    """
    members = {
        name.replace("removal.", "ground_truth."): data
        for name, data in sample.members.items()
        if name.startswith(("source.", "removal.")) or name == "mask.png"
    }
    if len(members) != 3:
        raise ShardError(f"sample {sample.key} is no candidate: it has {', '.join(sorted(sample.members))}")
    facts = {"key": key, "scene": sample.scene, "split": sample.split, "origin": origin}
    return EncodedSample(key, members | {"json": facts_member(facts)}, sample.scene, sample.split)


def decode_candidate(sample: EncodedSample) -> Candidate:
    """The reverse of `encode_candidate`. Raises ShardError for members that do not fit."""
    return Candidate(**decode_record(sample, ("source", "removal")))


def decode_candidates(samples: Iterable[EncodedSample]) -> Iterator[Candidate]:
    """Several candidates. Neighbours with the same source or mask share one array.

    Raises ShardError for members that do not fit.
    """
    last = LastDecoded()
    for sample in samples:
        yield Candidate(**decode_record(sample, ("source", "removal"), last))


def item_in(member: bytes) -> str:
    """The pool item in a candidate's ``json`` member. Raises ShardError for a damaged one."""
    try:
        return json.loads(member)["item"]
    except (KeyError, ValueError, TypeError) as error:
        raise ShardError(f"a candidate's facts cannot be decoded: {error}") from error
