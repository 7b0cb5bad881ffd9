"""List and read every kind of source in one way: its records in a table, and a sample of each record."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject
from data_specs.shard import Stage
from data_specs.triplet import Triplet
from tasks.sources.coco import CocoConfig, coco_items, list_coco
from tasks.sources.mulan import MulanConfig, list_mulan, mulan_triplets
from tasks.sources.ober import OberConfig, list_ober, ober_triplets
from tasks.sources.openimages_pool import PoolConfig, list_pool, pool_items
from tasks.sources.pasted_pairs import HighResolutionConfig, high_resolution_triplets, list_photographs
from tasks.sources.pool_items import PoolLimits
from tasks.sources.record_table import RecordTable, SourceRecord, open_table, remove_table, write_table
from tasks.sources.rord import RordConfig, list_rord, rord_triplets
from tasks.sources.sa1b import Sa1bConfig, list_sa1b, sa1b_items
from tasks.sources.scenes import SceneChoice
from tasks.sources.triplet_files import (
    FolderConfig,
    MetaJsonConfig,
    folder_triplets,
    list_folder,
    list_meta_json,
    meta_json_triplets,
)
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


# By kind of source. Each function gets the source of its kind, and the records that it listed.

_LISTS: dict[str, Callable[[Any], Iterable[SourceRecord | Reject]]] = {
    "folder": list_folder,
    "meta_json": list_meta_json,
    "pool": list_pool,
    "high_resolution": list_photographs,
    "rord": lambda source: list_rord(source).records,
    "mulan": lambda source: list_mulan(source).records,
    "coco": lambda source: list_coco(source.path).records,
    "sa1b": lambda source: list_sa1b(source.path).records,
    "ober": list_ober,
}
_TRIPLETS: dict[str, Callable[[Any, Any, SceneChoice], Iterator[Triplet | Reject]]] = {
    "folder": folder_triplets,
    "meta_json": meta_json_triplets,
    "high_resolution": high_resolution_triplets,
    "rord": rord_triplets,
    "mulan": mulan_triplets,
    "ober": ober_triplets,
}
_ITEMS: dict[str, Callable[[Any, Any, Mapping[str, int], SceneChoice], Iterator[PoolItem | Reject]]] = {
    "pool": pool_items,
    "coco": coco_items,
    "sa1b": sa1b_items,
}


def stage_of(source: FileSource) -> Stage:
    """The stage of the source's shards."""
    return "pool" if isinstance(source, PoolLimits) else "triplets"


def name_of_kind(source: FileSource) -> str:
    """The source's name in rejects and origins."""
    return "meta.json" if isinstance(source, MetaJsonSource) else source.kind


def list_records(source: FileSource) -> Iterable[SourceRecord | Reject]:
    """The source's records, in their order. No image is opened.

    Raises:
        InputError: If the source cannot be read at all.
    """
    return _LISTS[source.kind](source)


def read_records(
    source: FileSource,
    records: Iterable[SourceRecord | Reject],
    taken: Mapping[str, int],
    scenes: SceneChoice,
) -> Iterator[Triplet | PoolItem | Reject]:
    """One sample or reject for each record.

    Args:
        source: Where they come from.
        records: Some of ``list_records``.
        taken: Number of earlier pool items of each class.
        scenes: Chooses the scene of each image.
    """
    if isinstance(source, PoolLimits):
        return _ITEMS[source.kind](source, records, taken, scenes)
    return _TRIPLETS[source.kind](source, records, scenes)


# The table of a source's records, beside the shards of the workspace that it is read into.


def reading_folder(workspace: Workspace) -> Path:
    """The folder of what is known about sources while they are read."""
    return workspace.root / "reading"


def record_table(workspace: Workspace, source: FileSource, files_digest: str) -> RecordTable:
    """The table of the source's records. They are listed unless that was done for the same files.

    Args:
        workspace: Keeps the table.
        source: What is listed.
        files_digest: The digest of its files.

    Raises:
        InputError: As ``list_records``.
    """
    path = _table_file(workspace, source, files_digest)
    limits = source if isinstance(source, PoolLimits) else None
    return open_table(path) or write_table(path, list_records(source), limits)


def forget_records(workspace: Workspace, source: FileSource, files_digest: str) -> None:
    """Remove the table of a source whose records are all taken in. The arguments are ``record_table``'s."""
    remove_table(_table_file(workspace, source, files_digest))


def _table_file(workspace: Workspace, source: FileSource, files_digest: str) -> Path:
    name = derive_key("records", source.model_dump_json(), files_digest)
    return reading_folder(workspace) / f"{name}.records"
