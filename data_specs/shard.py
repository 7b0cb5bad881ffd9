"""A shard: one tar of samples with its index; and the few hundred bytes by which tasks name it."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import Split

ImageFormat = Literal["png", "jpeg"]
"""``png`` is lossless; ``jpeg`` is quality 95 without chroma subsampling, a quarter of the size."""


Stage = Literal[
    "triplets", "pool", "truth", "candidates", "grown", "cutouts", "plates", "composites", "refused"
]
"""``triplets`` captured pairs; ``pool`` unlabelled items; ``truth`` the pool's ground truth where a
source knows it (read by the oracle and by tests only); ``candidates`` removals awaiting judgement;
``grown`` candidates that became triplets; ``cutouts`` objects with their effects; ``plates``
backgrounds; ``composites`` cut-outs on plates, a sample for each removable object; ``refused`` rejects
with their images, for people to look at."""


FIRST_INDEX = {"human": 0, "automation": 1000, "calibration": 2000, "fresh": 3000, "night": 4000}
"""Shards of one stage and round are numbered apart by what they are for."""


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as it lies in a shard: its key and its members' bytes.

    Members are named by extension, webdataset's way: ``source.png``, ``mask.png``, ``json`` …
    """

    key: str
    members: dict[str, bytes]
    scene: str
    split: Split


@dataclass(frozen=True, slots=True)
class SampleRow:
    """What the ledger knows of one sample of a shard."""

    key: str
    scene: str
    split: Split
    position: int
    """Its place in the shard, from 0."""


class ShardRef(BaseModel):
    """What tasks hand each other instead of images."""

    model_config = ConfigDict(frozen=True)

    name: str
    """``{round:03d}-{stage}-{index:05d}-{digest of ordered keys}``; the tar is ``name.tar``."""
    stage: Stage
    round: int = Field(ge=0)
    index: int = Field(ge=0)
    samples: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    sha256: str
    """Of the tar's bytes."""
    index_sha256: str
    """Of the index's bytes."""
    input_digest: str
    """Of everything the shard was computed from; the same digest is the same work."""
