"""Ingest files: triplet folders, meta.json and pools become shards of a given size, with their rejects."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import IgnoredReason, Reject, RejectReason
from data_specs.shard import EncodedSample, ShardRef, Stage
from data_specs.triplet import Triplet
from data_specs.work import CODE_VERSION, ShardWork
from tasks.execution.shard_task import shard_task
from tasks.sources.backgrounds import FolderBackgrounds
from tasks.sources.coco import CocoConfig
from tasks.sources.found_files import Found, found_below, in_parts, unless_named
from tasks.sources.image_files import images_in
from tasks.sources.mulan import MulanConfig
from tasks.sources.ober import OberConfig
from tasks.sources.openimages_pool import (
    POOL_PARTS,
    Instance,
    PoolConfig,
    classes_path,
    mask_archives,
    pool_items,
    read_instances,
)
from tasks.sources.pairs import PAIR_PARTS, FolderPairs
from tasks.sources.paste_objects import OBJECT_PARTS, list_objects
from tasks.sources.pasted_pairs import (
    OBJECTS,
    HighResolutionConfig,
    high_resolution_triplets,
    linked_folders,
    objects_folder,
    photograph_folders,
    photographs_in,
)
from tasks.sources.published import PublishedConfig, count_published, published_samples
from tasks.sources.rord import RordConfig
from tasks.sources.sa1b import Sa1bConfig
from tasks.sources.scenes import SceneChoice, Scenes, scenes_alone
from tasks.sources.triplet_files import (
    META_PARTS,
    TRIPLET_PARTS,
    FolderConfig,
    MetaJsonConfig,
    files_of_stems,
    folder_triplets,
    load_records,
    meta_json_triplets,
    names_in,
)
from tasks.storage.shards import encode_pool_item, encode_triplet
from tasks.storage.shards.result import write_unless_empty
from tasks.storage.shards.writer import files_present
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


class RordSource(RordConfig):
    """RORD as published."""

    kind: Literal["rord"] = "rord"


class MulanSource(MulanConfig):
    """MULAN as published."""

    kind: Literal["mulan"] = "mulan"


class CocoSource(CocoConfig):
    """COCO's instances as a pool."""

    kind: Literal["coco"] = "coco"


class Sa1bSource(Sa1bConfig):
    """SA-1B's masks as a pool."""

    kind: Literal["sa1b"] = "sa1b"


class OberSource(OberConfig):
    """OBER's parquet files."""

    kind: Literal["ober"] = "ober"


FileSource = Annotated[
    FolderSource
    | MetaJsonSource
    | PoolSource
    | HighResolutionSource
    | RordSource
    | MulanSource
    | CocoSource
    | Sa1bSource
    | OberSource,
    Field(discriminator="kind"),
]
_POOLS = (PoolSource, CocoSource, Sa1bSource)


class Cursor(BaseModel):
    """How far a source has been read."""

    model_config = ConfigDict(frozen=True)

    records: int = Field(default=0, ge=0)
    """Number of stems, records or rows that are done, samples and rejects together."""
    classes: dict[str, int] = {}
    """Number of pool items taken from each class, for the cap."""


class IngestWork(ShardWork):
    """One shard of a source's files: the next ``shard_samples`` samples after ``start``."""

    source: FileSource
    files_digest: str
    shard_samples: int = Field(ge=1)
    start: Cursor = Cursor()

    @property
    def digest(self) -> str:
        """The name of the work. It follows from the folder's content, not from its location."""
        stated = self.model_dump_json(exclude={"source": {"path", "images", "objects"}})
        return derive_key(type(self).__name__, CODE_VERSION, stated, self.source.path.name)


class Intake(BaseModel):
    """The result of one shard's work."""

    model_config = ConfigDict(frozen=True)

    shard: ShardRef | None
    """None if everything was refused."""
    rejects: dict[str, int]
    """Number of rejects by reason."""
    end: Cursor
    finished: bool
    """Whether the source has no more files."""


def ingest_files(workspace: Workspace, work: IngestWork) -> Intake:
    """Read up to ``shard_samples`` samples and write their shard and their rejects.

    Raises:
        InputError: If the source cannot be read at all.
    """
    ledger = workspace.ledger()
    recorded = ledger.results.get("ingest", work.digest, Intake)
    if recorded is not None and (recorded.shard is None or files_present(workspace, recorded.shard)):
        return recorded
    with scenes_alone(workspace):
        reading = _Reading(workspace, work)
        intake = reading.intake(
            write_unless_empty(workspace, work, reading.stage, reading.samples(), reading.rejects)
        )
    ledger.results.record("ingest", work.digest, intake)
    return intake


class _Reading:
    """One pass through the source for one shard: its rejects, and its progress."""

    def __init__(self, workspace: Workspace, work: IngestWork) -> None:
        self.stage: Stage = "pool" if isinstance(work.source, _POOLS) else "triplets"
        self.rejects: list[Reject] = []
        self._work = work
        self._ledger = workspace.ledger()
        self._scenes = Scenes(self._ledger)
        self._records = work.start.records
        self._classes = Counter(work.start.classes)
        self._finished = False

    def samples(self) -> Iterator[EncodedSample]:
        """The samples of the shard. Rejects are collected beside them."""
        taken: set[str] = set()
        for sample in _read(self._work.source, self._work.start, self._scenes):
            self._records += 1
            if isinstance(sample, PoolItem):
                self._classes[sample.class_name] += 1
            if isinstance(sample, Reject):
                self.rejects.append(sample)
                continue
            holder = "this shard" if sample.key in taken else self._holder(sample.key)
            if holder is not None:
                self.rejects.append(_duplicate(sample, holder))
                continue
            taken.add(sample.key)
            yield _encode(sample, self._work)
            if len(taken) == self._work.shard_samples:
                break
        else:
            self._finished = True
        self._scenes.record()

    def intake(self, shard: ShardRef | None) -> Intake:
        """The result, once ``samples`` is exhausted."""
        return Intake(
            shard=shard,
            rejects=dict(Counter(reject.reason.value for reject in self.rejects)),
            end=Cursor(records=self._records, classes=dict(self._classes)),
            finished=self._finished,
        )

    def _holder(self, key: str) -> str | None:
        return self._ledger.shards.holder_of(key, self.stage, besides=self._work.digest)


def _read(source: FileSource, start: Cursor, scenes: SceneChoice) -> Iterable[Triplet | PoolItem | Reject]:
    if isinstance(source, FolderSource):
        return folder_triplets(source, start.records, scenes)
    if isinstance(source, MetaJsonSource):
        return meta_json_triplets(source, start.records, scenes)
    if isinstance(source, HighResolutionSource):
        return high_resolution_triplets(source, start.records, scenes)
    if isinstance(source, PublishedConfig):
        return published_samples(source, start.records, start.classes, scenes)
    return pool_items(source, start.records, start.classes, scenes)


def _duplicate(sample: Triplet | PoolItem, holder: str) -> Reject:
    source, _, name = sample.origin.partition(":")
    detail = f"sample {sample.key} of {holder} has the same pixels"
    return Reject(source=source, name=name, reason=RejectReason.DUPLICATE, detail=detail)


def _encode(sample: Triplet | PoolItem, work: IngestWork) -> EncodedSample:
    if isinstance(sample, Triplet):
        return encode_triplet(sample, work.image_format)
    return encode_pool_item(sample, work.image_format)


ingest_shard = shard_task(ingest_files, "ingest", "{work.source.kind} {work.index}")


# Everything in a source, counted without opening it: nothing is left out silently.
#
# One is counted for each record (a triplet, a pair, an image, a row), and one for each file that is no part
# of a record. The number found is therefore the sum of kept, refused and ignored.

FilesConfig = (
    FolderConfig
    | MetaJsonConfig
    | PoolConfig
    | HighResolutionConfig
    | PublishedConfig
    | FolderPairs
    | FolderBackgrounds
)


def find_all(config: FilesConfig) -> Found:
    """Count a source's records, and the other files below its folder.

    Raises:
        InputError: If the source cannot be read at all.
    """
    if isinstance(config, MetaJsonConfig):
        return _of_meta_json(config)
    if isinstance(config, PoolConfig):
        return _of_pool(config)
    if isinstance(config, HighResolutionConfig):
        return _of_high_resolution(config)
    if isinstance(config, PublishedConfig):
        return count_published(config)
    if isinstance(config, FolderBackgrounds):
        return found_below(len(images_in(config.path)), config.path, (), in_parts(("",)))
    parts = TRIPLET_PARTS if isinstance(config, FolderConfig) else PAIR_PARTS
    records = sum(1 for _ in files_of_stems(config.path, parts))
    return found_below(records, config.path, parts, in_parts(parts))


def _of_meta_json(config: MetaJsonConfig) -> Found:
    records, root = load_records(config.path), config.path.parent
    return found_below(
        len(records), root, META_PARTS, unless_named(root, [config.path.name, *names_in(records)])
    )


def _of_pool(config: PoolConfig) -> Found:
    read = read_instances(config)
    tables = [classes_path(config), *mask_archives(config)]
    names = [config.segmentation_csv, *(str(path.relative_to(config.path)) for path in tables)]
    for row in read.rows:
        if isinstance(row, Instance):
            names += [f"images/{row.image_file}", f"masks/{row.mask_file}"]
    files = found_below(len(read.rows), config.path, POOL_PARTS, unless_named(config.path, names))
    if read.empty_lines:
        files.ignored[IgnoredReason.EMPTY_LINE.value] = read.empty_lines
        files.first[IgnoredReason.EMPTY_LINE.value] = config.segmentation_csv
    return files


def _of_high_resolution(config: HighResolutionConfig) -> Found:
    folders, objects = photograph_folders(config.path), objects_folder(config)
    _, named = list_objects(objects, config.max_pixels)
    is_inside = objects.is_relative_to(config.path)
    place = str(objects.relative_to(config.path)) if is_inside else None
    object_parts = [f"{OBJECTS}/{part}" for part in OBJECT_PARTS]
    reason_in_parts = in_parts((*folders, *object_parts))

    def reason_of(name: str) -> IgnoredReason | None:
        if place is not None and os.path.relpath(name, place) in named:
            return IgnoredReason.OBJECT
        if reason_in_parts(name) or os.path.dirname(name) in folders:
            return reason_in_parts(name)
        return IgnoredReason.LONELY_OBJECT

    parts = (*linked_folders(), OBJECTS, *object_parts)
    return found_below(len(photographs_in(config.path)), config.path, parts, reason_of)
