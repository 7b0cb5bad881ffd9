"""A dataset version: an immutable, numbered list of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from data_specs.keys import Split
from data_specs.shard import ShardRef, Stage


class Selection(NamedTuple):
    """The samples that a version takes from one shard."""

    shard: ShardRef
    keys: Sequence[str] | None = None
    """Keys of the chosen samples. None = all of them."""


@dataclass(frozen=True, slots=True)
class VersionSample:
    """One row of a version's Parquet file."""

    key: str
    scene: str
    split: Split
    stage: Stage
    shard: str
    """Name of its shard."""
    round: int
    """Round of its origin."""


class DatasetVersion(BaseModel):
    """The numbered manifest, as stored in ``versions/000003.json`` and in the ledger."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    parents: tuple[int, ...]
    samples: int = Field(ge=0)
    shards: int = Field(ge=0)
    by_split: dict[str, int]
    by_stage: dict[str, int]
    parquet: str
    """File name next to the manifest, derived from the file's bytes."""
    sha256: str
    """Checksum of the Parquet file's bytes."""
    note: str
    created_at: AwareDatetime


class VersionDiff(BaseModel):
    """The samples that ``after`` has and ``before`` has not, and the reverse."""

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
    """One fault that ``verify`` found."""

    model_config = ConfigDict(frozen=True)

    kind: FaultKind
    what: str
    """The file, relative to the workspace, or the sample's key."""
    detail: str


class VerifyReport(BaseModel):
    """The result of reading every byte again."""

    model_config = ConfigDict(frozen=True)

    shards: int
    samples: int
    versions: int
    bytes_read: int
    faults: list[Fault]

    @property
    def clean(self) -> bool:
        """True if nothing is missing, doubled, altered or orphaned."""
        return not self.faults
