"""A dataset version: an immutable list of samples with a numbered manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from data_specs.keys import Split
from data_specs.shard import ShardRef, Stage


class Selection(NamedTuple):
    """One shard's part in a version."""

    shard: ShardRef
    keys: Sequence[str] | None = None
    """The samples chosen; None = all of them."""


@dataclass(frozen=True, slots=True)
class VersionSample:
    """One row of a version's Parquet file."""

    key: str
    scene: str
    split: Split
    stage: Stage
    shard: str
    """Name of the shard that holds it."""
    round: int
    """The round it came from."""


class DatasetVersion(BaseModel):
    """The numbered manifest, as it lies in ``versions/000003.json`` and in the ledger."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    parents: tuple[int, ...]
    samples: int = Field(ge=0)
    shards: int = Field(ge=0)
    by_split: dict[str, int]
    by_stage: dict[str, int]
    parquet: str
    """File name beside the manifest; derived from the file's bytes."""
    sha256: str
    """Of the Parquet file's bytes."""
    note: str
    created_at: AwareDatetime


class VersionDiff(BaseModel):
    """What version ``after`` has that ``before`` has not, and the reverse."""

    model_config = ConfigDict(frozen=True)

    before: int
    after: int
    added: list[str]
    """Keys, in the order of ``after``."""
    removed: list[str]
    """Keys, in the order of ``before``."""
    kept: int


FaultKind = Literal["missing", "doubled", "altered", "orphaned"]


class Fault(BaseModel):
    """One thing ``verify`` found wrong."""

    model_config = ConfigDict(frozen=True)

    kind: FaultKind
    what: str
    """The file, relative to the workspace, or the sample's key."""
    detail: str


class VerifyReport(BaseModel):
    """What re-reading every byte gave."""

    model_config = ConfigDict(frozen=True)

    shards: int
    samples: int
    versions: int
    bytes_read: int
    faults: list[Fault]

    @property
    def clean(self) -> bool:
        """True when nothing is missing, doubled, altered or orphaned."""
        return not self.faults
