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


Purpose = Literal["human", "automation", "calibration", "fresh", "night"]
"""What candidates and grown triplets are made for."""

FIRST_INDEX: dict[Purpose, int] = {
    "human": 0,
    "automation": 1000,
    "calibration": 2000,
    "fresh": 3000,
    "night": 4000,
}
"""The first index of the shards of one stage and round, by purpose."""


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
    """``{round:03d}-{stage}-{index:05d}-{digest of ordered keys}``; the tar is ``name.tar``."""
    stage: Stage
    round: int = Field(ge=0)
    index: int = Field(ge=0)
    samples: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    sha256: str
    """Checksum of the tar's bytes."""
    index_sha256: str
    """Checksum of the index's bytes."""
    input_digest: str
    """Digest of all inputs of the shard. The same digest is the same work."""
