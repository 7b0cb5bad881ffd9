"""Read OBER as published: parquet files whose rows hold four images become triplets with their M_fg.

The published folder holds ``data/train-NNNNN-of-NNNNN.parquet`` and ``data/test-….parquet``. A row has the
images ``input``, ``gt``, ``object_mask`` and ``object_effect_mask``, and the texts ``subset`` and ``split``.
An image is a struct of ``bytes`` and ``path``. Several rows are crops of one image: ``0427_1.jpg`` is crop 1
of image 0427. Rows of the subset OBER-Wild have no ground truth.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data_specs.arrays import Mask
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason, printable
from data_specs.triplet import EffectTriplet, Triplet
from tasks.sources.image_files import (
    HeldFile,
    RejectedImage,
    check_same_size,
    path_inside,
    read_image,
    read_mask,
)
from tasks.sources.image_ops import cut_image, cut_mask
from tasks.sources.samples import SampleLimits, sample_mask, sample_square, triplets_of
from tasks.sources.scenes import SceneChoice, TestFraction, by_pixels

OBER_DATA = "data"
"""The folder of the parquet files."""
_IMAGES = ("input", "gt", "object_mask", "object_effect_mask")
_TEXTS = ("subset", "split")
_CROP = re.compile(r"(?P<image>.+)_\d+")


class OberConfig(SampleLimits):
    """How to read OBER's parquet files."""

    path: Path = Field(description="The folder of the data set, which holds data/, or data/ itself.")
    part: Literal["train", "test"] = Field(
        default="train",
        description="The part to read. Samples of the test part always belong to the split test.",
    )
    test_fraction: TestFraction = 0.0


@dataclass(frozen=True, slots=True)
class OberRow:
    """The place of one row. Nothing has been decoded."""

    name: str
    """For people: the file and the row's number in it."""
    file: str
    """The file's name."""
    group: int
    """Its row group."""
    place: int
    """Its number in the row group."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, not yet decoded."""

    name: str
    """For people: the file and the row's number in it."""
    values: dict[str, Any]

    def image(self, column: str) -> HeldFile | None:
        """An image's file. None if the row has none."""
        cell = self.values[column]
        data = cell["bytes"] if cell else None
        return HeldFile(f"{self.name}.{column}", data) if data else None

    @property
    def image_id(self) -> str:
        """Subset and name of the image that the row is a crop of."""
        cell = self.values["input"]
        stem = Path((cell and cell["path"]) or self.name).stem
        crop = _CROP.fullmatch(stem)
        return f"{self.values['subset'] or ''}/{crop['image'] if crop else stem}"


@dataclass(frozen=True, slots=True)
class _TestOnly:
    """Fractions that put every new scene into the test split."""

    validation_fraction: float = 0.0
    test_fraction: float = 1.0


def ober_files(config: OberConfig) -> list[Path]:
    """The part's parquet files, in order.

    Raises:
        InputError: If there are none, or one is a link that leads out of the folder.
    """
    folder = config.path / OBER_DATA
    folder = folder if folder.is_dir() else config.path
    files = sorted(folder.glob(f"{config.part}-*.parquet"))
    if not files:
        raise InputError(
            config.path,
            f"holds no {config.part}-*.parquet in {OBER_DATA}/; name the folder of OBER as it was downloaded",
        )
    for file in files:
        path_inside(config.path, str(file.relative_to(config.path)), (OBER_DATA,))
    return files


def count_ober_rows(config: OberConfig) -> int:
    """The number of rows in the part's files.

    Raises:
        InputError: As `ober_triplets`.
    """
    rows = 0
    for path in ober_files(config):
        with _opened(path) as table:
            rows += table.metadata.num_rows
    return rows


def list_ober(config: OberConfig) -> Iterator[OberRow]:
    """The rows in the order of the files. No image is read.

    Raises:
        InputError: If the folder holds no file of the part, or a file is no parquet with OBER's columns.
    """
    for path in ober_files(config):
        with _opened(path) as table:
            first = 0
            for group in range(table.num_row_groups):
                count = table.metadata.row_group(group).num_rows
                for place in range(count):
                    yield OberRow(f"{path.name}[{first + place}]", path.name, group, place)
                first += count


def ober_triplets(
    config: OberConfig,
    records: Iterable[OberRow | Reject] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[Triplet | Reject]:
    """One triplet or reject for each row.

    Args:
        config: What to read.
        records: Some of ``list_ober``. None: all.
        scenes: Chooses the scene of each ground truth. Crops of one image share it.

    Raises:
        InputError: As ``list_ober``.
    """
    files = {path.name: path for path in ober_files(config)}
    groups = _Groups()

    def triplet_of(row: OberRow) -> Triplet:
        return _triplet(groups.row(files[row.file], row), config, scenes)

    return triplets_of(list_ober(config) if records is None else records, "ober", triplet_of)


def _triplet(row: _Row, config: OberConfig, scenes: SceneChoice) -> Triplet:
    place, split_named = Path(row.name), row.values["split"]
    if split_named is not None and split_named.lower() != config.part:
        detail = f"its split is {printable(split_named)} in a file of {config.part}"
        raise RejectedImage(place, RejectReason.BAD_RECORD, detail)
    source_file, truth_file, mask_file = (_needed(row, name) for name in ("input", "gt", "object_mask"))
    source = read_image(source_file, max_pixels=config.max_pixels)
    mask = read_mask(mask_file, max_pixels=config.max_pixels)
    check_same_size(mask_file, mask.shape, source.shape[:2])
    ground_truth = read_image(truth_file, max_pixels=config.max_pixels)
    check_same_size(truth_file, ground_truth.shape[:2], source.shape[:2])
    foreground = _foreground(row, mask, config)
    square = sample_square(place, source, mask, config)
    images = [cut_image(image, square, config.size_px) for image in (source, ground_truth)]
    small = sample_mask(place, mask, square, config)
    effect = [] if foreground is None else [cut_mask(foreground, square, config.size_px) | small]
    fractions = _TestOnly() if config.part == "test" else config
    lineage = derive_key("scene", "ober", row.image_id)
    scene, split = scenes(place, ground_truth, fractions, lineage)
    facts: dict[str, Any] = {
        "key": derive_key("ober", images[0], small, images[1], *effect),
        "scene": scene,
        "split": split,
        "origin": printable(f"ober:{row.image_id} {row.name}"),
        "source": images[0],
        "mask": small,
        "ground_truth": images[1],
    }
    return EffectTriplet(**facts, foreground=effect[0]) if effect else Triplet(**facts)


def _needed(row: _Row, column: str) -> HeldFile:
    image = row.image(column)
    if image is None:
        raise RejectedImage(row.name, RejectReason.MISSING_FILE, f"the row has no {column}")
    return image


def _foreground(row: _Row, mask: Mask, config: OberConfig) -> Mask | None:
    """M_fg, H×W bool. None if the row has none."""
    file = row.image("object_effect_mask")
    if file is None:
        return None
    foreground = read_mask(file, max_pixels=config.max_pixels)
    check_same_size(file, foreground.shape, mask.shape)
    return foreground


class _Groups:
    """Row groups of parquet files. One is in memory at a time."""

    def __init__(self) -> None:
        self._at: tuple[Path, int] | None = None
        self._rows: pa.Table | str = ""

    def row(self, path: Path, row: OberRow) -> _Row:
        """The row's texts, and its images as stored.

        Raises:
            RejectedImage: DAMAGED if its group cannot be read.
        """
        if self._at != (path, row.group):
            self._rows, self._at = _read_group(path, row.group), (path, row.group)
        if isinstance(self._rows, str):
            raise RejectedImage(row.name, RejectReason.DAMAGED, self._rows)
        return _Row(row.name, self._rows.slice(row.place, 1).to_pylist()[0])


def _read_group(path: Path, group: int) -> pa.Table | str:
    """The group's rows, or why they cannot be read."""
    with _opened(path) as table:
        try:
            read = table.read_row_group(group, columns=[*_IMAGES, *_TEXTS])
            read.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            return str(error).partition("\n")[0]
        return read


def _opened(path: Path) -> pq.ParquetFile:
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(path, f"cannot be read as parquet ({error}); download it again") from error
    schema = table.schema_arrow
    images = {
        name for name in _IMAGES if name in schema.names and pa.types.is_struct(schema.field(name).type)
    }
    absent = sorted({*_IMAGES, *_TEXTS} - images - ({*_TEXTS} & {*schema.names}))
    if absent:
        raise InputError(path, f"lacks OBER's column {', '.join(absent)}; name the folder of OBER")
    return table
