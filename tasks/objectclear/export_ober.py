"""Export composites in OBER's Parquet layout, which Hugging Face `datasets` reads (papers.md, fact 15).

Columns: ``input``, ``gt``, ``object_mask``, ``object_effect_mask`` (images), ``subset``, ``split`` (text).
The images' bytes are those of the shards; nothing is encoded again.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import InputError
from data_specs.keys import Split
from data_specs.shard import EncodedSample, ShardRef
from tasks.storage.atomic_files import aside_path, sync_file, sync_folder
from tasks.storage.shards import ShardReader
from tasks.storage.shards.codecs import image_member
from tasks.storage.workspace import Workspace

SUBSET = "simulated"
_IMAGES = {
    "input": "source",
    "gt": "ground_truth",
    "object_mask": "mask",
    "object_effect_mask": "foreground",
}
_WORDS = ("subset", "split")
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ROW_GROUP = 100
"""Rows that the `datasets` viewer reads at once. A group of 512 px images takes about 100 MB."""


def export_ober(workspace: Workspace, folder: Path, rows_per_file: int = 2000) -> dict[str, int]:
    """Write every composite of a workspace as ``data/SPLIT-NNNNN-of-NNNNN.parquet``.

    Args:
        workspace: The workspace of the composites.
        folder: The target folder. Files of an older export with the same names are replaced atomically.
        rows_per_file: The largest number of rows in a file.

    Returns:
        Number of rows by split.

    Raises:
        InputError: If the workspace has no composite, or the folder holds files of another export.
    """
    shards = workspace.ledger().shards.all(stage="composites")
    places = _places(workspace, shards)
    if not places:
        raise InputError(workspace.root, "holds no composites; run `cleanplate composite` first")
    files: dict[str, tuple[Split, Sequence[int]]] = {
        f"{split}-{number:05d}-of-{-(-len(of_split) // rows_per_file):05d}.parquet": (split, part)
        for split, of_split in places.items()
        for number, part in enumerate(_parts(of_split, rows_per_file))
    }
    data = _prepared(folder, set(files))
    with ShardReader(workspace, shards) as reader:
        for name, (split, part) in files.items():
            _write(data / name, (_row(reader[place], split) for place in part))
    return {split: len(of_split) for split, of_split in places.items()}


def ober_schema() -> pa.Schema:
    """The columns, with the metadata that makes `datasets` read the structs as images."""
    fields = [*((name, _IMAGE) for name in _IMAGES), *((name, pa.string()) for name in _WORDS)]
    features: dict[str, Any] = {name: {"_type": "Image"} for name in _IMAGES}
    features |= {name: {"dtype": "string", "_type": "Value"} for name in _WORDS}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _places(workspace: Workspace, shards: Sequence[ShardRef]) -> dict[Split, list[int]]:
    """Positions of each split's samples in the shards, read one after the other."""
    held = workspace.ledger().shards.samples_in([shard.name for shard in shards])
    rows = [row for shard in shards for row in held[shard.name]]
    numbers: dict[Split, list[int]] = {}
    for place, row in enumerate(rows):
        numbers.setdefault(row.split, []).append(place)
    return numbers


def _row(sample: EncodedSample, split: Split) -> dict[str, Any]:
    images: dict[str, Any] = {}
    for column, name in _IMAGES.items():
        data = image_member(sample, name)
        suffix = "png" if data.startswith(b"\x89PNG") else "jpg"
        images[column] = {"bytes": data, "path": f"{sample.key}_{column}.{suffix}"}
    return {**images, "subset": SUBSET, "split": split}


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write one file, complete and durable or not at all. One row group is in memory at a time."""
    schema, aside = ober_schema(), aside_path(path)
    try:
        with aside.open("xb") as file:
            with pq.ParquetWriter(file, schema, compression="none") as writer:
                for group in _groups(rows):
                    writer.write_table(pa.Table.from_pylist(group, schema))
            file.flush()
            sync_file(file.fileno())
        aside.rename(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _prepared(folder: Path, names: set[str]) -> Path:
    """The target folder. It may hold no other data files, because `datasets` would read them too."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in data.glob("*.parquet") if path.name not in names)
    if others:
        raise InputError(data, f"holds {others[0]} of another export; name a new folder")
    return data


def _parts(places: Sequence[int], size: int) -> list[Sequence[int]]:
    return [places[start : start + size] for start in range(0, len(places), size)]


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == _ROW_GROUP:
            yield group
            group = []
    if group:
        yield group
