"""Encode and decode refused samples, for the contact sheet of rejects."""

import json

import cv2

from data_specs.errors import ShardError, first_fault
from data_specs.keys import derive_key, image_hash
from data_specs.reject import RefusedSample, Reject
from data_specs.shard import EncodedSample
from tasks.storage.shards.codecs import decode_image, encode_image, facts_member


def encode_refused(refused: RefusedSample, work: str) -> EncodedSample:
    """A JPEG for each image, and ``json`` with the reject. No model trains on it, so small files are better.

    Args:
        refused: The refused sample.
        work: The name of the work that refused it. Another work's refusal is another sample.
    """
    reject = refused.reject
    hashes = [image_hash(image) for image in refused.images.values()]
    members = {f"{name}.jpg": encode_image(image, "jpeg") for name, image in refused.images.items()}
    facts = {"scene": refused.scene, "split": refused.split, "reject": reject.model_dump(mode="json")}
    members["json"] = facts_member(facts)
    return EncodedSample(
        key=derive_key("refused", work, reject.model_dump_json(), *hashes),
        members=members,
        scene=refused.scene,
        split=refused.split,
    )


def decode_refused(sample: EncodedSample) -> RefusedSample:
    """The reverse of `encode_refused`. Raises ShardError for members that do not fit."""
    try:
        facts = json.loads(sample.members["json"])
        return RefusedSample(
            scene=facts["scene"],
            split=facts["split"],
            reject=Reject.model_validate(facts["reject"]),
            images={
                name.removesuffix(".jpg"): decode_image(data)
                for name, data in sample.members.items()
                if name.endswith(".jpg")
            },
        )
    except (KeyError, ValueError, cv2.error) as error:
        raise ShardError(
            f"sample {sample.key} cannot be decoded ({first_fault(error)}); run `cleanplate dataset verify`"
        ) from error
