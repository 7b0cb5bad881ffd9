"""A shard: one tar of samples with its index, and the short reference by which tasks name it."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import Split

ImageFormat = Literal["png", "jpeg"]
"""``png`` is lossless. ``jpeg`` is quality 95 without chroma subsampling, a quarter of the size."""


Stage = Literal[
    "triplets", "pool", "truth", "candidates", "grown", "cutouts", "plates", "composites", "refused"
]
"""``triplets`` captured pairs; ``pool`` unlabelled items; ``truth`` the pool's ground truth if a source
knows it (only the oracle and tests read it); ``candidates`` removals without a decision;
``grown`` candidates that became triplets; ``cutouts`` objects with their effects; ``plates``
backgrounds; ``composites`` cut-outs on plates, a sample for each removable object; ``refused`` rejects
with their images, for people to look at."""


Purpose = Literal["human", "automation", "calibration", "fresh", "night", "pairs"]
"""What pool items are drawn for, and what candidates and grown samples are of: ``human`` for people;
``automation`` for the discriminator; ``calibration`` to calibrate a discriminator; ``fresh`` to measure one;
``night`` for a nightly run; ``pairs`` for candidates of training pairs, whose truth labels them."""


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample in its stored form: its key and its members' bytes.

    Members are named by extension, as in webdataset: ``source.png``, ``mask.png``, ``json`` …
    """

    key: str
    members: dict[str, bytes]
    scene: str
    split: Split
    item: str | None = field(default=None, compare=False)
    """The pool item that a candidate is of. None for other stages, and where a reader made the sample."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """The ledger's row of one sample of a shard."""

    key: str
    scene: str
    split: Split
    position: int
    """Index in the shard, from 0."""
    item: str | None = None
    """The pool item that a candidate is of. None for other stages, and for shards of earlier versions."""


class ShardRef(BaseModel):
    """The reference that tasks exchange instead of images."""

    model_config = ConfigDict(frozen=True)

    name: str
    """``{round:03d}-{stage}-{index:05d}-{digest of ordered keys}``; the tar is ``name.tar``. Older shards of
    some purposes have a number in their name that is larger than ``index``."""
    stage: Stage
    round: int = Field(ge=0)
    # Left out where there is none: works that name such shards then keep their digests of before.
    purpose: Purpose | None = Field(default=None, exclude_if=lambda purpose: purpose is None)
    """None for every stage but candidates and grown samples."""
    index: int = Field(ge=0)
    """Counts from 0 within round, stage and purpose. Two shards may have the same: their keys differ."""
    samples: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    sha256: str
    """Checksum of the tar's bytes."""
    index_sha256: str
    """Checksum of the index's bytes."""
    input_digest: str
    """Digest of all inputs of the shard. The same digest is the same work."""
