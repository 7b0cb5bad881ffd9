"""OBER's layout, read back by pyarrow, Pillow and Hugging Face `datasets`, which know nothing of ours."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Image as ImageFeature
from datasets import load_dataset
from PIL import Image

from data_specs.cutout import Cutout
from data_specs.errors import InputError
from data_specs.plate import Plate
from tasks.objectclear.composite import compose_draws
from tasks.objectclear.export_ober import export_ober
from tasks.storage.shards import ShardReader, decode_composite
from tasks.storage.workspace import Workspace
from tests.tasks.objectclear.conftest import cutouts, plates, shots
from tests.tasks.objectclear.small_stock import compose_work, stocked

__all__ = ["cutouts", "plates", "shots"]

IMAGES = ("input", "gt", "object_mask", "object_effect_mask")


@pytest.fixture
def composed(tmp_path: Path, cutouts: list[Cutout], plates: list[Plate]) -> Workspace:
    workspace = Workspace.open(tmp_path / "workspace")
    work = compose_work(stocked(workspace, cutouts, plates), count=12)
    compose_draws(workspace, work.model_copy(update={"image_format": "jpeg"}))
    return workspace


def decoded(cell: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])))


def test_every_row_is_a_composite_and_the_bytes_are_the_shards(composed: Workspace, tmp_path: Path) -> None:
    rows = export_ober(composed, tmp_path / "ober")
    (file,) = (tmp_path / "ober/data").iterdir()
    assert file.name == "train-00000-of-00001.parquet"
    table = pq.read_table(file).to_pylist()
    assert rows == {"train": len(table)}
    shards = composed.ledger().shards.all(stage="composites")
    with ShardReader(composed, shards) as reader:
        assert len(reader) == len(table)
        for place, row in enumerate(table):
            composite = decode_composite(reader[place])
            assert row["input"]["bytes"] == reader[place].members["source.jpg"]
            assert row["input"]["path"].endswith("_input.jpg")
            assert row["object_mask"]["path"].endswith("_object_mask.png")
            assert np.array_equal(decoded(row["object_mask"]), composite.mask)
            assert np.array_equal(decoded(row["object_effect_mask"]), composite.foreground)
            # Pillow's decoder of JPEG may differ from cv2's by a level or two.
            assert np.abs(decoded(row["gt"]).astype(int) - composite.ground_truth).max() <= 3
            assert (row["subset"], row["split"]) == ("simulated", "train")


def test_the_metadata_names_the_images_as_images(composed: Workspace, tmp_path: Path) -> None:
    export_ober(composed, tmp_path)
    schema = pq.read_schema(next((tmp_path / "data").iterdir()))
    assert schema.names == [*IMAGES, "subset", "split"]
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert {name for name, each in features.items() if each == {"_type": "Image"}} == set(IMAGES)
    assert features["split"] == {"dtype": "string", "_type": "Value"}
    for name in IMAGES:
        field = schema.field(name).type
        assert [(each.name, str(each.type)) for each in field] == [("bytes", "binary"), ("path", "string")]


def test_datasets_loads_it_by_split_with_images_as_images(
    composed: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the shards, all files of a split as one; nothing is asked of any network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = export_ober(composed, tmp_path / "ober", rows_per_file=5)
    files = {"train": str(tmp_path / "ober/data/train-*.parquet")}
    loaded: Any = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    table = loaded["train"]
    assert table.column_names == [*IMAGES, "subset", "split"]
    assert {name for name, each in table.features.items() if isinstance(each, ImageFeature)} == set(IMAGES)
    with ShardReader(composed, composed.ledger().shards.all(stage="composites")) as reader:
        assert len(table) == len(reader) == rows["train"] > 5
        composites = [decode_composite(reader[place]) for place in range(len(reader))]
    assert set(table["subset"]) == {"simulated"}
    assert set(table["split"]) == {"train"}
    for row, composite in zip(table, composites, strict=True):
        height, width = composite.mask.shape
        assert {row[name].size for name in IMAGES} == {(width, height)}
        assert (row["input"].mode, row["object_mask"].mode) == ("RGB", "1")
        assert np.array_equal(np.asarray(row["object_mask"]), composite.mask)
        assert np.array_equal(np.asarray(row["object_effect_mask"]), composite.foreground)
        # Pillow's decoder of JPEG may differ from cv2's by a level or two.
        assert np.abs(np.asarray(row["input"]).astype(int) - composite.source).max() <= 3


def test_rows_are_parted_into_files_and_none_is_lost(composed: Workspace, tmp_path: Path) -> None:
    rows = export_ober(composed, tmp_path, rows_per_file=5)
    files = sorted((tmp_path / "data").iterdir())
    wanted = -(-rows["train"] // 5)
    assert [each.name for each in files] == [f"train-{n:05d}-of-{wanted:05d}.parquet" for n in range(wanted)]
    paths = [row["input"]["path"] for each in files for row in pq.read_table(each).to_pylist()]
    assert len(paths) == len(set(paths)) == rows["train"]


def test_again_it_gives_the_same_bytes_and_another_export_is_not_mixed_in(
    composed: Workspace, tmp_path: Path
) -> None:
    export_ober(composed, tmp_path)
    (file,) = (tmp_path / "data").iterdir()
    before = file.read_bytes()
    export_ober(composed, tmp_path)
    assert file.read_bytes() == before
    with pytest.raises(InputError, match="of another export; name a new folder"):
        export_ober(composed, tmp_path, rows_per_file=5)
    assert [each.name for each in (tmp_path / "data").iterdir()] == [file.name]


def test_a_workspace_without_composites_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `cleanplate composite` first"):
        export_ober(Workspace.open(tmp_path / "empty"), tmp_path / "ober")
