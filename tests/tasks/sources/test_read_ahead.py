"""Records that workers read ahead, in any order, become the same shards as those that are read in turn."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_specs.reject import Reject
from data_specs.triplet import Triplet
from tasks.sources.ingest import Cursor, IngestWork, Intake, ingest_files
from tasks.sources.outcomes import in_scene
from tasks.sources.read_ahead import ReadAhead, ReadWork, part_file, read_part, reading_ahead
from tasks.sources.readers import (
    CocoSource,
    FileSource,
    FolderSource,
    HighResolutionSource,
    MulanSource,
    PoolSource,
    RordSource,
    Sa1bSource,
    list_records,
    record_table,
)
from tasks.sources.source_files import files_digest
from tasks.sources.triplet_files import FolderConfig, folder_triplets
from tasks.storage.shards import encode_triplet
from tasks.storage.shards.writer import tar_path
from tasks.storage.workspace import Workspace
from tests.published.data_sets import coco, mulan, openimages_v7, rord, sa1b


class Read:
    """A worker that reads a part only when it is waited for, or at once."""

    def __init__(self, workspace: Workspace, work: ReadWork, at_once: bool) -> None:
        self._do: Callable[[], None] = lambda: read_part(workspace, work)
        if at_once:
            self._do()

    def result(self) -> None:
        self._do()


def take_in(
    workspace: Workspace, source: FileSource, samples: int, size: int | None = None, at_once: bool = True
) -> list[Intake]:
    """As the flow does it, without Prefect. ``size``: records of a part; None: read in turn."""
    digest, start, intakes = files_digest(source), Cursor(), list[Intake]()
    first = ReadWork(index=0, source=source, files_digest=digest, image_format="png", first=0, stop=0)
    ahead = ReadAhead(workspace, first, size or 1, lambda work: Read(workspace, work, at_once), 3)
    while not intakes or not intakes[-1].finished:
        work = IngestWork(
            round=0,
            index=len(intakes),
            source=source,
            files_digest=digest,
            shard_samples=samples,
            start=start,
        )
        if size is None:
            intakes.append(ingest_files(workspace, work))
        else:
            with reading_ahead(ahead):
                intakes.append(ingest_files(workspace, work))
        start = intakes[-1].end
    ahead.remove_files()
    return intakes


def contents(workspace: Workspace) -> tuple[dict[str, bytes], list[Reject]]:
    """The bytes of all shards, and all rejects."""
    shards = workspace.ledger().shards.all()
    return {ref.name: tar_path(workspace, ref.name).read_bytes() for ref in shards}, (
        workspace.ledger().rejects.all()
    )


@pytest.fixture
def folder(tmp_path: Path, write_pair) -> Path:
    """Pairs, of which three equal earlier ones and two cannot be read."""
    for number in range(13):
        write_pair(tmp_path / "pairs", f"p{number:02}", number % 10)
    (tmp_path / "pairs/mask/p04.png").unlink()
    (tmp_path / "pairs/source/p06.png").write_bytes(b"no image")
    return tmp_path / "pairs"


def high_resolution(root: Path, write_pair) -> Path:
    rng = np.random.default_rng(3)
    for part in ("images", "objects/source", "objects/mask"):
        (root / part).mkdir(parents=True)
    for number in range(12):
        small = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        photo = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(root / f"images/a{number:02}.png"), photo)
        # Nearly the same photograph again: it joins the scene and the split of the first.
        again = np.clip(photo.astype(int) + 2, 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(root / f"images/b{number:02}.png"), again)
        mask = np.zeros((96, 96), np.uint8)
        mask[20:70, 20:70] = 255
        assert cv2.imwrite(str(root / f"objects/source/o{number}.png"), photo[::-1])
        assert cv2.imwrite(str(root / f"objects/mask/o{number}.png"), mask)
    return root


@pytest.mark.parametrize(("size", "at_once"), [(1, True), (4, False), (100, True)])
def test_a_folder_gives_the_same_bytes_whatever_the_parts(tmp_path, folder, size: int, at_once: bool) -> None:
    source = FolderSource(path=folder, size_px=32)
    in_turn, ahead = (Workspace.open(tmp_path / name) for name in ("in turn", "ahead"))
    wanted = take_in(in_turn, source, 3)
    assert take_in(ahead, source, 3, size, at_once) == wanted
    assert contents(ahead) == contents(in_turn)
    assert sum(intake.shard.samples for intake in wanted if intake.shard) == 8
    assert not list((ahead.root / "reading").glob("*.outcomes")), "the parts' files are removed"


@pytest.mark.parametrize(
    "make",
    [
        lambda root, _: PoolSource(path=openimages_v7(root), size_px=32, class_cap=2),
        lambda root, _: CocoSource(path=coco(root), size_px=32, class_cap=2, mask_area_max=1),
        lambda root, _: Sa1bSource(path=sa1b(root), size_px=32, mask_area_max=1),
        lambda root, _: RordSource(path=rord(root, scenes=3), size_px=32),
        lambda root, _: MulanSource(path=mulan(root), size_px=32),
        lambda root, pair: HighResolutionSource(
            path=high_resolution(root / "div2k", pair),
            sizes_px=(64,),
            validation_fraction=0.3,
            test_fraction=0.3,
        ),
    ],
    ids=["pool", "coco", "sa1b", "rord", "mulan", "high resolution"],
)
def test_every_source_gives_the_same_bytes(tmp_path: Path, write_pair, make) -> None:
    source = make(tmp_path / "source", write_pair)
    in_turn, ahead = (Workspace.open(tmp_path / name) for name in ("in turn", "ahead"))
    wanted = take_in(in_turn, source, 2)
    assert wanted[0].shard is not None
    assert take_in(ahead, source, 2, 3, at_once=False) == wanted
    assert contents(ahead) == contents(in_turn)


def test_the_table_gives_back_what_was_listed(tmp_path: Path) -> None:
    source = CocoSource(path=coco(tmp_path / "source"))
    workspace = Workspace.open(tmp_path / "workspace")
    table = record_table(workspace, source, "digest")
    listed = list(list_records(source))
    assert list(table.read(0)) == listed
    assert list(table.read(1, 3)) == listed[1:3]
    ranges = table.parts(2)
    assert [ranges[0][0], ranges[-1][1]] == [0, len(listed)]
    assert all(one[1] == other[0] for one, other in zip(ranges, ranges[1:], strict=False))
    assert all(table.opened[first:stop].sum() == 2 for first, stop in ranges[:-1])


def test_a_restart_reads_no_image_of_a_finished_part(tmp_path, folder) -> None:
    source = FolderSource(path=folder, size_px=32)
    workspace = Workspace.open(tmp_path / "workspace")
    digest = files_digest(source)
    work = ReadWork(index=0, source=source, files_digest=digest, image_format="png", first=0, stop=13)
    read_part(workspace, work)
    written = part_file(workspace, work)
    before = written.stat()
    for part in ("source", "mask", "ground_truth"):
        for image in (folder / part).iterdir():
            image.unlink()
    read_part(workspace, work)
    assert written.stat() == before
    assert json.loads(written.open("rb").readline())["sample"] is not None


def test_a_class_that_fills_up_meanwhile_takes_the_same_items(tmp_path: Path) -> None:
    """Parts are given out when a class is not full yet, and some of their items are then refused."""
    root = tmp_path / "pool"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:25, 10:25] = 255
    rows = []
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        assert cv2.imwrite(str(root / f"images/i{number}.jpg"), pixels)
        assert cv2.imwrite(str(root / f"masks/m{number}.png"), mask)
        rows.append(f"m{number}.png,i{number},/m/{number % 3}")
    (root / "images/i3.jpg").write_bytes(b"no image")
    (root / "train-annotations-object-segmentation.csv").write_text(
        "\n".join(["MaskPath,ImageID,LabelName", *rows, ",i1,/m/0"])
    )
    (root / "class-descriptions-boxable.csv").write_text("/m/0,Dog\n/m/1,Car\n/m/2,Hat\n")
    source = PoolSource(path=root, size_px=32, class_cap=5)
    in_turn = Workspace.open(tmp_path / "in turn")
    wanted = take_in(in_turn, source, 4)
    assert wanted[-1].end.classes == {"Dog": 5, "Car": 5}
    for size in (2, 7):
        ahead = Workspace.open(tmp_path / f"ahead {size}")
        assert take_in(ahead, source, 4, size, at_once=size == 2) == wanted
        assert contents(ahead) == contents(in_turn)


def test_a_sample_in_another_scene_is_encoded_as_if_it_had_been_there_first(folder: Path) -> None:
    config = FolderConfig(path=folder, size_px=32)
    triplet = next(read for read in folder_triplets(config) if isinstance(read, Triplet))
    triplet = replace(triplet, origin="folder:é/ü")
    elsewhere = replace(triplet, scene="0123456789abcdef0123", split="validation")
    moved = in_scene(encode_triplet(triplet, "png"), elsewhere.scene, elsewhere.split)
    assert moved == encode_triplet(elsewhere, "png")
