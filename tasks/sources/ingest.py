"""Ingest files: triplet folders, meta.json and pools become shards of a set size, refusals beside them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from prefect import task
from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject, RejectReason
from data_specs.shard import EncodedSample, ShardRef, Stage
from data_specs.triplet import Triplet
from tasks.execution import INLINE, do_shard
from tasks.execution.retries import RETRY_LOST_NETWORK
from tasks.execution.shard_task import BY_WORK, CODE_VERSION, ShardWork
from tasks.sources.folder import FolderConfig, folder_triplets
from tasks.sources.meta_json import MetaJsonConfig, meta_json_triplets
from tasks.sources.openimages_pool import PoolConfig, pool_items
from tasks.sources.pasted_pairs import HighResolutionConfig, high_resolution_triplets
from tasks.sources.scene_choice import SceneChoice
from tasks.sources.scenes import Scenes, scenes_alone
from tasks.storage.shards import encode_pool_item, encode_triplet
from tasks.storage.shards.paths import files_present
from tasks.storage.shards.result import write_unless_empty
from tasks.storage.workspace import Workspace


class FolderSource(FolderConfig):
    """A folder of triplets."""

    kind: Literal["folder"] = "folder"


class MetaJsonSource(MetaJsonConfig):
    """A dataset in RORem's layout."""

    kind: Literal["meta_json"] = "meta_json"


class PoolSource(PoolConfig):
    """A pool in OpenImages' layout."""

    kind: Literal["pool"] = "pool"


class HighResolutionSource(HighResolutionConfig):
    """Clean photographs, and objects to paste on them."""

    kind: Literal["high_resolution"] = "high_resolution"


FileSource = Annotated[
    FolderSource | MetaJsonSource | PoolSource | HighResolutionSource, Field(discriminator="kind")
]


class Cursor(BaseModel):
    """How far a source has been read."""

    model_config = ConfigDict(frozen=True)

    records: int = Field(default=0, ge=0)
    """Stems, records or rows done with, samples and rejects alike."""
    classes: dict[str, int] = {}
    """Pool items taken of each class, for the cap."""


class IngestWork(ShardWork):
    """One shard of a source's files: the next ``shard_samples`` samples after ``start``."""

    source: FileSource
    files_digest: str
    shard_samples: int = Field(ge=1)
    start: Cursor = Cursor()

    @property
    def digest(self) -> str:
        """Names the work; where the folder lies does not matter, what is in it does."""
        stated = self.model_dump_json(exclude={"source": {"path"}})
        return derive_key(type(self).__name__, CODE_VERSION, stated, self.source.path.name)


class Intake(BaseModel):
    """What one shard's work gave."""

    model_config = ConfigDict(frozen=True)

    shard: ShardRef | None
    """None where everything was refused."""
    rejects: dict[str, int]
    """Refused on the way, by reason."""
    end: Cursor
    finished: bool
    """The source holds nothing more."""


def ingest_files(workspace: Workspace, work: IngestWork) -> Intake:
    """Read up to ``shard_samples`` samples and write their shard, with what was refused on the way.

    Raises:
        InputError: When the source as a whole cannot be read.
    """
    ledger, name = workspace.ledger(), "intake"
    known = ledger.phase(work.digest, name)
    if known is not None:
        intake = Intake.model_validate(known)
        if intake.shard is None or files_present(workspace, intake.shard):
            return intake
    with scenes_alone(workspace):
        reading = _Reading(workspace, work)
        intake = reading.intake(
            write_unless_empty(workspace, work, reading.stage, reading.samples(), reading.rejects)
        )
    ledger.record_phase(work.digest, name, intake.model_dump(mode="json"))
    return intake


class _Reading:
    """One shard's walk through the source: what it refused and how far it came."""

    def __init__(self, workspace: Workspace, work: IngestWork) -> None:
        self.stage: Stage = "pool" if isinstance(work.source, PoolSource) else "triplets"
        self.rejects: list[Reject] = []
        self._work = work
        self._ledger = workspace.ledger()
        self._scenes = Scenes(self._ledger)
        self._records = work.start.records
        self._classes = Counter(work.start.classes)
        self._finished = False

    def samples(self) -> Iterator[EncodedSample]:
        """The shard's samples; rejects gather beside them."""
        taken: set[str] = set()
        for found in _read(self._work.source, self._work.start, self._scenes):
            self._records += 1
            if isinstance(found, PoolItem):
                self._classes[found.class_name] += 1
            if isinstance(found, Reject):
                self.rejects.append(found)
                continue
            holder = "this shard" if found.key in taken else self._holder(found.key)
            if holder is not None:
                self.rejects.append(_duplicate(found, holder))
                continue
            taken.add(found.key)
            yield _encode(found, self._work)
            if len(taken) == self._work.shard_samples:
                break
        else:
            self._finished = True
        self._scenes.record()

    def intake(self, shard: ShardRef | None) -> Intake:
        """What came of it, once ``samples`` is exhausted."""
        return Intake(
            shard=shard,
            rejects=dict(Counter(each.reason.value for each in self.rejects)),
            end=Cursor(records=self._records, classes=dict(self._classes)),
            finished=self._finished,
        )

    def _holder(self, key: str) -> str | None:
        return self._ledger.holder_of(key, self.stage, besides=self._work.digest)


def _read(source: FileSource, start: Cursor, scenes: SceneChoice) -> Iterable[Triplet | PoolItem | Reject]:
    if isinstance(source, FolderSource):
        return folder_triplets(source, start.records, scenes)
    if isinstance(source, MetaJsonSource):
        return meta_json_triplets(source, start.records, scenes)
    if isinstance(source, HighResolutionSource):
        return high_resolution_triplets(source, start.records, scenes)
    return pool_items(source, start.records, start.classes, scenes)


def _duplicate(sample: Triplet | PoolItem, holder: str) -> Reject:
    source, _, name = sample.origin.partition(":")
    detail = f"its pixels are sample {sample.key} of {holder}"
    return Reject(source=source, name=name, reason=RejectReason.DUPLICATE, detail=detail)


def _encode(sample: Triplet | PoolItem, work: IngestWork) -> EncodedSample:
    if isinstance(sample, Triplet):
        return encode_triplet(sample, work.picture_format)
    return encode_pool_item(sample, work.picture_format)


@task(
    task_run_name="ingest {work.source.kind} {work.index}",
    persist_result=True,
    result_serializer="json",
    cache_policy=BY_WORK,
    **RETRY_LOST_NETWORK,
)
def ingest_shard(workspace: Workspace, work: IngestWork) -> Intake:
    """One shard of a source's files."""
    return do_shard(INLINE, workspace, "ingest", work.digest, ingest_files, work)
