"""Refused samples to members and back: what a contact sheet of rejects shows."""

import json

import cv2

from data_specs.errors import ShardError, first_fault
from data_specs.keys import derive_key, picture_hash
from data_specs.reject import RefusedSample, Reject
from data_specs.shard import EncodedSample
from tasks.storage.shards.codecs import decode_picture, encode_picture


def encode_refused(refused: RefusedSample, work: str) -> EncodedSample:
    """A JPEG a picture, and ``json`` with the reject; nothing is trained on it, so small is better.

    Args:
        refused: What.
        work: Names the work that refused it; another's refusal is another sample.
    """
    reject = refused.reject
    hashes = [picture_hash(picture) for picture in refused.pictures.values()]
    members = {f"{name}.jpg": encode_picture(picture, "jpeg") for name, picture in refused.pictures.items()}
    known = {"scene": refused.scene, "split": refused.split, "reject": reject.model_dump(mode="json")}
    members["json"] = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return EncodedSample(
        key=derive_key("refused", work, reject.model_dump_json(), *hashes),
        members=members,
        scene=refused.scene,
        split=refused.split,
    )


def decode_refused(sample: EncodedSample) -> RefusedSample:
    """The reverse of `encode_refused`; raises ShardError for members that do not fit."""
    try:
        known = json.loads(sample.members["json"])
        return RefusedSample(
            scene=known["scene"],
            split=known["split"],
            reject=Reject.model_validate(known["reject"]),
            pictures={
                name.removesuffix(".jpg"): decode_picture(data)
                for name, data in sample.members.items()
                if name.endswith(".jpg")
            },
        )
    except (KeyError, ValueError, cv2.error) as error:
        raise ShardError(f"sample {sample.key} cannot be decoded: {first_fault(error)}") from error
