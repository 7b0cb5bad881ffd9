"""OBER's parquet files: rows become triplets with their own M_fg, or named rejects."""

import io
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_specs.errors import InputError
from data_specs.reject import IgnoredReason, Reject, RejectReason
from data_specs.triplet import EffectTriplet, Triplet
from tasks.sources.count_files import find_all
from tasks.sources.ingest import IngestWork, Intake, ingest_files
from tasks.sources.ober import OberConfig, ober_triplets
from tasks.sources.readers import OberSource
from tasks.sources.source_files import files_digest
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace
from tests.tasks.sources.ober_folder import ober_row, png, write_ober

TRAIN, TEST = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"


def pixels(row: dict, column: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row[column]["bytes"])))


def read(folder: Path, **settings) -> list[Triplet | Reject]:
    return list(ober_triplets(OberConfig(path=folder, size_px=96, **settings)))


def test_a_row_keeps_its_images_and_its_effect_mask(tmp_path: Path) -> None:
    rows = [ober_row(number, f"{number:04d}_0") for number in range(5)]
    write_ober(tmp_path, TRAIN, rows)
    triplets = read(tmp_path)
    assert len(triplets) == len(rows)
    for triplet, row in zip(triplets, rows, strict=True):
        assert isinstance(triplet, EffectTriplet)
        assert np.array_equal(triplet.source, pixels(row, "input"))
        assert np.array_equal(triplet.ground_truth, pixels(row, "gt"))
        assert np.array_equal(triplet.mask, pixels(row, "object_mask") > 127)
        assert np.array_equal(triplet.foreground, pixels(row, "object_effect_mask") > 127)
    assert len({triplet.key for triplet in cast(list[Triplet], triplets)}) == 5
    assert cast(Triplet, triplets[0]).origin == f"ober:Real/0000 {TRAIN}[0]"


def test_a_larger_image_is_reduced_and_m_fg_still_holds_the_mask(tmp_path: Path) -> None:
    write_ober(tmp_path, TRAIN, [ober_row(1, "a_0", size=150)])
    (triplet,) = read(tmp_path)
    assert isinstance(triplet, EffectTriplet)
    assert triplet.source.shape == (96, 96, 3)
    assert triplet.foreground.shape == (96, 96)
    assert not (triplet.mask & ~triplet.foreground).any()
    assert triplet.foreground.mean() == pytest.approx(
        (pixels(ober_row(1, "a", size=150), "object_effect_mask") > 0).mean(), abs=0.02
    )


def test_crops_of_one_image_share_scene_and_split(tmp_path: Path) -> None:
    names = [f"{image:04d}_{crop}" for image in range(12) for crop in range(3)]
    write_ober(tmp_path, TRAIN, [ober_row(n, name) for n, name in enumerate(names)], group=7)
    triplets = cast(list[Triplet], read(tmp_path, validation_fraction=0.5))
    scenes = [triplet.scene for triplet in triplets]
    assert [scenes[i] == scenes[i - i % 3] for i in range(36)] == [True] * 36
    assert len(set(scenes)) == 12
    splits = {triplet.scene: triplet.split for triplet in triplets}
    assert [triplet.split for triplet in triplets] == [splits[scene] for scene in scenes]
    assert set(splits.values()) == {"train", "validation"}, "the train part has no test"


def test_the_test_part_is_the_split_test(tmp_path: Path) -> None:
    wild = {**ober_row(1, "w_0", split="test", subset="OBER-Wild"), "gt": None}
    plain = {**ober_row(2, "r_0", split="test", subset="RORD-Val-343"), "object_effect_mask": None}
    rows = [ober_row(0, "t_0", split="test", subset="OBER-Test"), wild, plain, ober_row(3, "x_0")]
    write_ober(tmp_path, TEST, rows)
    first, second, third, fourth = read(tmp_path, part="test")
    assert isinstance(first, EffectTriplet)
    assert first.split == "test"
    assert second == Reject(
        source="ober",
        name=f"{TEST}[1]",
        reason=RejectReason.MISSING_FILE,
        detail=f"{TEST}[1]: file is missing (the row has no gt)",
    )
    assert type(third) is Triplet, "without a stored M_fg it is a plain triplet"
    assert isinstance(fourth, Reject)
    assert (fourth.reason, "its split is train" in fourth.detail) == (RejectReason.BAD_RECORD, True)


def test_bad_images_are_named(tmp_path: Path) -> None:
    def with_cell(column: str, data: bytes) -> dict:
        row = ober_row(1, "a_0")
        return {**row, column: {**row[column], "bytes": data}}

    photograph = io.BytesIO()
    Image.fromarray(pixels(ober_row(1, "a"), "input")).save(photograph, "JPEG")
    black = np.zeros((96, 96), np.uint8)
    rows = [
        with_cell("input", photograph.getvalue()[:-200]),
        with_cell("gt", b"no image"),
        with_cell("object_mask", png(black)),
        with_cell(
            "object_effect_mask", png(np.full((48, 96), 255, np.uint8) * np.eye(48, 96, dtype=np.uint8))
        ),
        ober_row(2, "b_0", size=64),
        ober_row(3, "c_0"),
    ]
    write_ober(tmp_path, TRAIN, rows)
    *refused, kept = read(tmp_path)
    assert [cast(Reject, reject).reason for reject in refused] == [
        RejectReason.TRUNCATED,
        RejectReason.UNREADABLE,
        RejectReason.MASK_EMPTY,
        RejectReason.SIZE_MISMATCH,
        RejectReason.TOO_SMALL,
    ]
    assert isinstance(kept, EffectTriplet)


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path: Path) -> None:
    path = write_ober(tmp_path, TRAIN, [ober_row(number, f"{number}_0") for number in range(6)])
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    outcomes = read(tmp_path)
    assert [isinstance(outcome, EffectTriplet) for outcome in outcomes] == [True] * 2 + [False] * 2 + [
        True
    ] * 2
    assert [cast(Reject, o).reason for o in outcomes[2:4]] == [RejectReason.DAMAGED] * 2
    assert [cast(Reject, o).name for o in outcomes[2:4]] == [f"{TRAIN}[2]", f"{TRAIN}[3]"]


def test_another_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no train-\*.parquet in data/"):
        read(tmp_path)
    path = write_ober(tmp_path, TRAIN, [ober_row(1, "a_0")])
    assert len(read(tmp_path / "data")) == 1, "data/ itself may be named"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["gt"]), path)
    with pytest.raises(InputError, match="lacks OBER's column gt"):
        read(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read(tmp_path)


def ingested(workspace: Workspace, source: OberSource, shard_samples: int = 500) -> list[Intake]:
    intakes: list[Intake] = []
    while not intakes or not intakes[-1].finished:
        work = IngestWork(
            round=0,
            index=len(intakes),
            source=source,
            files_digest=files_digest(source),
            shard_samples=shard_samples,
        )
        intakes.append(
            ingest_files(workspace, work.model_copy(update={"start": intakes[-1].end}) if intakes else work)
        )
    return intakes


def test_shards_go_on_where_the_last_one_ended_and_keep_m_fg(tmp_path: Path) -> None:
    rows = [ober_row(number, f"{number}_0") for number in range(5)]
    write_ober(tmp_path / "OBER", "train-00000-of-00002.parquet", rows[:3])
    write_ober(tmp_path / "OBER", "train-00001-of-00002.parquet", [*rows[3:], rows[0]])
    write_ober(tmp_path / "OBER", TEST, rows)
    (tmp_path / "OBER" / "README.md").write_text("OBER")
    workspace = Workspace.open(tmp_path / "workspace")
    source = OberSource(path=tmp_path / "OBER", size_px=96)
    intakes = ingested(workspace, source, shard_samples=2)
    refs = [intake.shard for intake in intakes if intake.shard]
    assert [ref.samples for ref in refs] == [2, 2, 1]
    assert [intake.rejects for intake in intakes] == [{}, {}, {"already in the dataset": 1}]
    with ShardReader(workspace, refs) as reader:
        stored = [decode_triplet(reader[place]) for place in range(len(reader))]
    for triplet, row in zip(stored, rows, strict=True):
        assert isinstance(triplet, EffectTriplet)
        assert np.array_equal(triplet.foreground, pixels(row, "object_effect_mask") > 127)
    found = find_all(source)
    assert found.records == 6 == sum(len(intake.rejects) for intake in intakes) + 5
    assert found.ignored == {IgnoredReason.OTHER_PART.value: 2}


def test_a_test_row_of_a_train_scene_is_refused(tmp_path: Path) -> None:
    """The same image in both parts: what trains is not measured on."""
    write_ober(tmp_path / "OBER", TRAIN, [ober_row(1, "a_0")])
    write_ober(tmp_path / "OBER", TEST, [ober_row(1, "b_0", split="test"), ober_row(2, "c_0", split="test")])
    workspace = Workspace.open(tmp_path / "workspace")
    (train,) = ingested(workspace, OberSource(path=tmp_path / "OBER", size_px=96, validation_fraction=0))
    (test,) = ingested(workspace, OberSource(path=tmp_path / "OBER", size_px=96, part="test"))
    assert train.shard is not None
    assert test.shard is not None
    assert (train.shard.samples, test.shard.samples) == (1, 1)
    assert test.rejects == {"near scenes of two splits": 1}
