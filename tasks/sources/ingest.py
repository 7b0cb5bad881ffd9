"""Ingest files: triplet folders, meta.json and pools become shards of a given size, with their rejects."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import IgnoredReason, Reject, RejectReason, printable
from data_specs.shard import EncodedSample, ShardRef, Stage
from data_specs.triplet import Triplet
from data_specs.work import CODE_VERSION, ShardWork
from tasks.execution.shard_task import shard_task
from tasks.sources.backgrounds import FolderBackgrounds
from tasks.sources.image_files import IMAGE_SUFFIXES, images_in
from tasks.sources.ober import OBER_DATA, OberConfig, count_ober_rows, ober_files, ober_triplets
from tasks.sources.openimages_pool import (
    POOL_PARTS,
    Instance,
    PoolConfig,
    classes_path,
    pool_items,
    read_instances,
)
from tasks.sources.pairs import PAIR_PARTS, FolderPairs
from tasks.sources.pasted_pairs import (
    IMAGES,
    OBJECT_PARTS,
    OBJECTS,
    HighResolutionConfig,
    high_resolution_triplets,
)
from tasks.sources.scenes import SceneChoice, Scenes, scenes_alone
from tasks.sources.triplet_files import (
    META_PARTS,
    TRIPLET_PARTS,
    FolderConfig,
    MetaJsonConfig,
    StemFiles,
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


class OberSource(OberConfig):
    """OBER's parquet files."""

    kind: Literal["ober"] = "ober"


FileSource = Annotated[
    FolderSource | MetaJsonSource | PoolSource | HighResolutionSource | OberSource,
    Field(discriminator="kind"),
]


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
        stated = self.model_dump_json(exclude={"source": {"path"}})
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
        self.stage: Stage = "pool" if isinstance(work.source, PoolSource) else "triplets"
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
    if isinstance(source, OberSource):
        return ober_triplets(source, start.records, scenes)
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
    | OberConfig
    | FolderPairs
    | FolderBackgrounds
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a source contains."""

    records: int
    """Number of records. Each is kept or refused."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Number of files that are no part of a record, by reason."""
    first: dict[str, str] = field(default_factory=dict)
    """The name of the first such file, by reason."""


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
    if isinstance(config, OberConfig):
        read = {str(path.relative_to(config.path)) for path in ober_files(config)}
        reason = IgnoredReason.OTHER_PART
        rows = count_ober_rows(config)
        return _found(rows, config.path, (OBER_DATA,), lambda name: None if name in read else reason)
    if isinstance(config, FolderBackgrounds):
        return _found(len(images_in(config.path)), config.path, (), _in_parts(("",)))
    parts = TRIPLET_PARTS if isinstance(config, FolderConfig) else PAIR_PARTS
    records = sum(1 for _ in files_of_stems(config.path, parts))
    return _found(records, config.path, parts, _in_parts(parts))


_ReasonOf = Callable[[str], IgnoredReason | None]
"""Why a file, given by its path below the source, is no part of a record. None if it is part of one."""


def _in_parts(parts: Collection[str]) -> _ReasonOf:
    def reason_of(name: str) -> IgnoredReason | None:
        if os.path.dirname(name) not in parts:
            return IgnoredReason.ELSEWHERE
        return None if Path(name).suffix.lower() in IMAGE_SUFFIXES else IgnoredReason.OTHER_FORMAT

    return reason_of


def _unless_named(root: Path, names: Iterable[str]) -> _ReasonOf:
    named = {os.path.relpath(os.path.join(root, name), root) for name in names if "\0" not in name}
    return lambda name: None if name in named else IgnoredReason.UNNAMED


def _of_meta_json(config: MetaJsonConfig) -> Found:
    records, root = load_records(config.path), config.path.parent
    return _found(len(records), root, META_PARTS, _unless_named(root, [config.path.name, *names_in(records)]))


def _of_pool(config: PoolConfig) -> Found:
    read = read_instances(config)
    names = [config.segmentation_csv, str(classes_path(config).relative_to(config.path))]
    for row in read.rows:
        if isinstance(row, Instance):
            names += [f"images/{row.image_file}", f"masks/{row.mask_file}"]
    files = _found(len(read.rows), config.path, POOL_PARTS, _unless_named(config.path, names))
    if read.empty_lines:
        files.ignored[IgnoredReason.EMPTY_LINE.value] = read.empty_lines
        files.first[IgnoredReason.EMPTY_LINE.value] = config.segmentation_csv
    return files


def _of_high_resolution(config: HighResolutionConfig) -> Found:
    objects = files_of_stems(config.path / OBJECTS, OBJECT_PARTS)
    whole = {
        f"{OBJECTS}/{name}"
        for files in objects
        if isinstance(files, StemFiles)
        for name in files.names.values()
    }
    object_parts = [f"{OBJECTS}/{part}" for part in OBJECT_PARTS]
    in_parts = _in_parts((IMAGES, *object_parts))

    def reason_of(name: str) -> IgnoredReason | None:
        if in_parts(name) or os.path.dirname(name) == IMAGES:
            return in_parts(name)
        return IgnoredReason.OBJECT if name in whole else IgnoredReason.LONELY_OBJECT

    return _found(
        len(images_in(config.path / IMAGES)),
        config.path,
        (IMAGES, OBJECTS, *object_parts),
        reason_of,
    )


def _found(records: int, root: Path, parts: Collection[str], reason_of: _ReasonOf) -> Found:
    """Count what is found. ``parts`` are the folders that may be links to elsewhere."""
    files = Found(records)
    for name in sorted(_names_below(root, parts)):
        reason = _fault(root / name) or reason_of(name)
        if reason is not None:
            files.ignored[reason.value] += 1
            files.first.setdefault(reason.value, printable(name))
    return files


def _names_below(root: Path, parts: Collection[str]) -> Iterator[str]:
    """Every file below ``root`` and every link to a folder. A link is followed only if it is a part."""
    linked = [part for part in parts if (root / part).is_symlink()]
    for top in ("", *linked):
        for folder, folders, files in os.walk(root / top):
            below = os.path.relpath(folder, root)
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in (*files, *links):
                path = name if below == "." else f"{below}/{name}"
                if path not in linked:
                    yield path


def _fault(path: Path) -> IgnoredReason | None:
    """Why a path is no file. A broken one with an image's name still counts as a record."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return IgnoredReason.LINKED_FOLDER if path.is_dir() else None
    if stat.S_ISREG(mode) or path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    return IgnoredReason.NO_FILE
