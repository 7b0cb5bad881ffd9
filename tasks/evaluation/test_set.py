"""Read the images that a remover is measured on: a split of a dataset version, or a folder of triplets."""

from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.reject import Reject
from data_specs.triplet import Triplet
from tasks.sources.readers import FolderSource
from tasks.sources.source_files import files_digest
from tasks.sources.triplet_files import folder_triplets
from tasks.storage.dataset import selection_of
from tasks.storage.shards import ShardReader, decode_triplet, origin_in
from tasks.storage.workspace import Workspace


class VersionSet(BaseModel):
    """The captured triplets of one split of a dataset version. Grown ones are no truth to measure with."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["version"] = "version"
    workspace: Path = Field(default=Path("workspace"), description="The folder with the ledger.")
    version: int | None = Field(default=None, ge=1, description="The dataset version. None: the current one.")
    split: Split = Field(
        default="test", description="Split of the images. No phase uses test. Results on train are too good."
    )
    origin: str = Field(
        default="",
        description="Takes only triplets whose origin starts with this text, such as `clip:`, `studio:` "
        "or `folder:`.",
    )


EvaluationSet = Annotated[VersionSet | FolderSource, Field(discriminator="kind")]


def pinned(chosen: VersionSet | FolderSource) -> VersionSet | FolderSource:
    """The set with its version number and its absolute path. It then stays the same during use.

    Raises:
        InputError: If there is no such workspace.
        FlowError: If the workspace has no dataset version.
        LedgerError: If the workspace does not have the named version.
    """
    if isinstance(chosen, FolderSource):
        return chosen.model_copy(update={"path": chosen.path.expanduser().resolve()})
    workspace = Workspace.existing(chosen.workspace)
    ledger = workspace.ledger()
    version = (
        ledger.versions.current() if chosen.version is None else ledger.versions.numbered(chosen.version)
    )
    if version is None:
        raise FlowError(f"{chosen.workspace} has no dataset version yet; run `cleanplate ingest` first")
    return chosen.model_copy(update={"workspace": workspace.root, "version": version.number})


def set_digest(chosen: VersionSet | FolderSource) -> str:
    """The name of a pinned set's images. It follows from their content, not from their location.

    Raises:
        InputError: If a folder does not exist.
    """
    if isinstance(chosen, FolderSource):
        return derive_key("folder set", files_digest(chosen), chosen.model_dump_json(exclude={"path"}))
    workspace, number = _place_of(chosen)
    samples = workspace.ledger().versions.numbered(number).sha256
    return derive_key("version set", samples, chosen.split, chosen.origin)


def set_words(chosen: VersionSet | FolderSource) -> str:
    """A description of a pinned set, for people."""
    if isinstance(chosen, FolderSource):
        return f"folder {chosen.path.name}, {chosen.size_px} px"
    words = f"workspace {chosen.workspace.name}, dataset version {chosen.version}, {chosen.split} split"
    return f"{words}, origin {chosen.origin}" if chosen.origin else words


def read_set(
    chosen: VersionSet | FolderSource, only: Collection[str] | None = None
) -> Iterator[Triplet | Reject]:
    """The triplets of a pinned set in order. For a folder, the rejects too.

    Args:
        chosen: The set.
        only: Keys of triplets of a version that are wanted. The others are not read. None: all.

    Raises:
        InputError: If a folder cannot be read at all.
        FlowError: If there is no triplet to measure on.
    """
    is_folder = isinstance(chosen, FolderSource)
    records = folder_triplets(chosen) if is_folder else _version_triplets(chosen, only)
    passed: list[Reject] = []
    for record in records:
        if isinstance(record, Triplet):
            yield from chain(passed, [record], records)
            return
        passed.append(record)
    reason = f"; the first was refused: {passed[0].reason.value}" if passed else ""
    raise FlowError(
        f"{set_words(chosen)} holds no triplet to measure on{reason}; choose others or ingest some"
    )


def _version_triplets(chosen: VersionSet, only: Collection[str] | None) -> Iterator[Triplet]:
    """The set's triplets. No image of another split or origin is read, nor one that is not wanted."""
    workspace, number = _place_of(chosen)
    for selection in selection_of(workspace, number):
        if selection.shard.stage != "triplets":
            continue
        wanted = set(selection.keys or ())
        if only is not None:
            wanted &= set(only)
        with ShardReader(workspace, [selection.shard]) as reader:
            keys = reader.keys
            for position in reader.positions_in(chosen.split):
                if keys[position] in wanted:
                    origin = origin_in(reader.member_at(position, "json"))
                    if origin.startswith(chosen.origin):
                        yield decode_triplet(reader[position])


def _place_of(chosen: VersionSet) -> tuple[Workspace, int]:
    assert chosen.version is not None, "pin the set first"
    return Workspace(chosen.workspace), chosen.version
