"""Files become shards: sizes, rejects, duplicates, and that doing it twice is doing it once."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_specs.pool_item import PoolItem
from data_specs.reject import RejectReason
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from tasks.sources.ingest import Cursor, IngestWork, Intake, ingest_files
from tasks.sources.openimages_pool import PoolConfig, pool_items
from tasks.sources.readers import FolderSource, PoolSource
from tasks.sources.source_files import files_digest
from tasks.sources.triplet_files import FolderConfig, folder_triplets
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def take_in(workspace: Workspace, source: FolderSource | PoolSource, shard_samples: int = 2) -> list[Intake]:
    """As the flow does it, without Prefect."""
    intakes: list[Intake] = []
    start, digest = Cursor(), files_digest(source)
    while not intakes or not intakes[-1].finished:
        work = IngestWork(
            round=0,
            index=len(intakes),
            source=source,
            files_digest=digest,
            shard_samples=shard_samples,
            start=start,
        )
        intakes.append(ingest_files(workspace, work))
        start = intakes[-1].end
    return intakes


def shards_of(intakes: list[Intake]) -> list[ShardRef]:
    return [each.shard for each in intakes if each.shard is not None]


def reasons(workspace: Workspace) -> dict[str, RejectReason]:
    return {each.name: each.reason for each in workspace.ledger().rejects.all()}


def test_shards_hold_what_the_source_yields_in_its_order(workspace, tmp_path, write_pair) -> None:
    folder = tmp_path / "pairs"
    for number in range(5):
        write_pair(folder, f"p{number}", number)
    (folder / "mask/p1.png").unlink()
    source = FolderSource(path=folder, size_px=32)
    intakes = take_in(workspace, source)
    assert [each.end.records for each in intakes] == [3, 5, 5]  # p1 is refused, so the first takes three.
    assert [ref.samples for ref in shards_of(intakes)] == [2, 2]
    assert reasons(workspace) == {"p1": RejectReason.MISSING_FILE}
    read = folder_triplets(FolderConfig(path=folder, size_px=32))
    expected = [each for each in read if isinstance(each, Triplet)]
    reader = ShardReader(workspace, shards_of(intakes))
    for position, wanted in enumerate(expected):
        found = decode_triplet(reader[position])
        assert (found.key, found.scene, found.split) == (wanted.key, wanted.scene, wanted.split)
        np.testing.assert_array_equal(found.source, wanted.source)
    assert len(reader) == len(expected) == 4


def test_the_same_folder_elsewhere_is_the_same_work(workspace, tmp_path, write_pair) -> None:
    for number in range(3):
        write_pair(tmp_path / "a/pairs", f"p{number}", number)
    shutil.copytree(tmp_path / "a/pairs", tmp_path / "b/pairs")
    first = take_in(workspace, FolderSource(path=tmp_path / "a/pairs", size_px=32))
    again = take_in(workspace, FolderSource(path=tmp_path / "b/pairs", size_px=32))
    assert again == first
    assert len(workspace.ledger().shards.all()) == 2
    assert workspace.ledger().rejects.all() == []


def test_a_changed_folder_adds_only_what_is_new(workspace, tmp_path, write_pair) -> None:
    folder = tmp_path / "pairs"
    for number in range(3):
        write_pair(folder, f"p{number}", number)
    take_in(workspace, FolderSource(path=folder, size_px=32))
    write_pair(folder, "a copy", 1)  # The pixels of p1 under another name.
    write_pair(folder, "new", 9)
    second = take_in(workspace, FolderSource(path=folder, size_px=32), shard_samples=10)
    assert [ref.samples for ref in shards_of(second)] == [1]
    named = {name.rpartition("/")[2]: reason for name, reason in reasons(workspace).items()}
    assert named == dict.fromkeys(("a copy", "p0", "p1", "p2"), RejectReason.DUPLICATE)
    keys = [
        row.key
        for ref in workspace.ledger().shards.all()
        for row in workspace.ledger().shards.samples_of(ref.name)
    ]
    assert len(keys) == len(set(keys)) == 4


def test_equal_pairs_of_one_folder_are_one_sample(workspace, tmp_path, write_pair) -> None:
    for stem in ("a", "b", "c"):
        write_pair(tmp_path / "pairs", stem, 4)
    intakes = take_in(workspace, FolderSource(path=tmp_path / "pairs", size_px=32), shard_samples=1)
    assert [ref.samples for ref in shards_of(intakes)] == [1]
    assert sum(each.rejects.get("already in the dataset", 0) for each in intakes) == 2


def test_rejects_alone_are_kept_and_make_no_shard(workspace, tmp_path, write_pair) -> None:
    for name in ("one", "two"):
        write_pair(tmp_path / name, name, 1)
        (tmp_path / name / f"source/{name}.png").write_bytes(b"no image")
        (intake,) = take_in(workspace, FolderSource(path=tmp_path / name, size_px=32))
        assert intake.shard is None
    assert reasons(workspace) == dict.fromkeys(("one", "two"), RejectReason.UNREADABLE)
    assert workspace.ledger().shards.all() == []


def test_lost_files_are_written_again_with_the_same_bytes(workspace, tmp_path, write_pair) -> None:
    for number in range(2):
        write_pair(tmp_path / "pairs", f"p{number}", number)
    source = FolderSource(path=tmp_path / "pairs", size_px=32)
    before = take_in(workspace, source)
    tar = workspace.shards_dir / f"{shards_of(before)[0].name}.tar"
    bytes_before = tar.read_bytes()
    tar.unlink()
    assert take_in(workspace, source) == before
    assert tar.read_bytes() == bytes_before


def test_a_shard_written_just_before_a_kill_leads_on_to_the_same_rest(tmp_path, write_pair) -> None:
    for number in range(5):
        write_pair(tmp_path / "pairs", f"p{number}", number)
    source = FolderSource(path=tmp_path / "pairs", size_px=32)
    unbroken = take_in(Workspace.open(tmp_path / "unbroken"), source)
    broken = Workspace.open(tmp_path / "broken")
    take_in(broken, source)
    # Killed after the first shard's row and before the note of where it ended.
    with sqlite3.connect(broken.root / "ledger.sqlite") as database:
        database.execute("DELETE FROM results")
    assert take_in(broken, source) == unbroken
    assert len(broken.ledger().shards.all()) == 3


def test_a_pools_cap_holds_across_its_shards(workspace, tmp_path) -> None:
    root, rows = tmp_path / "pool", []
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    mask = np.zeros((40, 40), np.uint8)
    mask[10:25, 10:25] = 255
    for number in range(8):
        pixels = np.full((40, 40, 3), np.random.default_rng(number).integers(0, 255, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"images/i{number}.jpg")
        Image.fromarray(mask).save(root / f"masks/m{number}.png")
        rows.append(f"m{number}.png,i{number},/m/{number % 2}")
    (root / "train-annotations-object-segmentation.csv").write_text(
        "\n".join(["MaskPath,ImageID,LabelName", *rows])
    )
    (root / "class-descriptions-boxable.csv").write_text("/m/0,Dog\n/m/1,Car\n")
    intakes = take_in(workspace, PoolSource(path=root, size_px=32, class_cap=3), shard_samples=2)
    assert [ref.samples for ref in shards_of(intakes)] == [2, 2, 2]
    assert intakes[-1].end.classes == {"Dog": 3, "Car": 3}
    at_once = pool_items(PoolConfig(path=root, size_px=32, class_cap=3))
    wanted = [each.key for each in at_once if isinstance(each, PoolItem)]
    found = [row.key for ref in shards_of(intakes) for row in workspace.ledger().shards.samples_of(ref.name)]
    assert found == wanted
