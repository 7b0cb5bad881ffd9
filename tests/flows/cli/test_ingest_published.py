"""`cleanplate ingest` of published layouts: every file counts, and a scene keeps together."""

import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.storage.dataset import load_samples
from tasks.storage.workspace import Workspace
from tests.flows.cli.test_ingest_sums import ingest
from tests.published.data_sets import (
    clips,
    coco,
    div2k,
    mulan,
    openimages_v7,
    photo,
    rord,
    rord_prepared,
    sa1b,
)

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_rord_is_ingested_by_scene(tmp_path: Path) -> None:
    root = rord(tmp_path / "rord", scenes=12, frames=2)
    (root / "Training/readme.txt").write_text("words")
    scene = root / "Training/jpg/MOV003_S01"
    (scene / "MOV003_S01_F0001.jpg").write_bytes(b"no image")
    link = tmp_path / "link"
    link.symlink_to(root)
    result = ingest(tmp_path, "rord", str(link), "--shard-samples", "7")
    assert result["rejects"] == {"unreadable image": 1}
    assert result["ignored_by"] == {"no record names it": 1}
    assert (result["kept"], result["shards"], result["version"]) == (23, 4, 1)
    workspace = Workspace.existing(tmp_path / "workspace")
    splits = defaultdict(set)
    for ref in workspace.ledger().shards.all():
        for row in workspace.ledger().shards.samples_of(ref.name):
            splits[row.scene].add(row.split)
    assert len(splits) == 12
    assert all(len(own) == 1 for own in splits.values())
    assert len(load_samples(workspace, 1)) == 23
    again = ingest(tmp_path, "rord", str(root), "--shard-samples", "7")
    assert (again["added"], again["kept"]) == (0, 23)


def test_prepared_rord_needs_its_masks_turned(tmp_path: Path) -> None:
    root = rord_prepared(tmp_path / "rord")
    assert ingest(tmp_path, "rord", str(root))["rejects"] == {"mask is inverted": 6}
    assert ingest(tmp_path, "rord", str(root), "--turn-masks")["kept"] == 6


def test_mulan_is_ingested_with_its_images_elsewhere(tmp_path: Path) -> None:
    root = mulan(tmp_path / "mulan", images=3)
    (root / "images").rename(tmp_path / "coco")
    result = ingest(tmp_path, "mulan", str(root), "--images", str(tmp_path / "coco"))
    assert (result["kept"], result["refused"], result["ignored"]) == (6, 0, 0)


def test_pools_as_published_are_counted(tmp_path: Path) -> None:
    root = openimages_v7(tmp_path / "openimages", images=12)
    result = ingest(tmp_path, "pool", str(root))
    assert (result["kept"], result["rejects"], result["ignored"]) == (9, {"class is excluded": 3}, 0)
    root = coco(tmp_path / "coco", images=6)
    photo(1).save(root / "train2017/unlisted.jpg")
    result = ingest(tmp_path, "coco", str(root), "--exclude", "DOG")
    assert (result["kept"], result["rejects"]) == (3, {"class is excluded": 3})
    assert result["ignored_by"] == {"no record names it": 1}
    root = sa1b(tmp_path / "sa1b", images=4)
    result = ingest(tmp_path, "sa1b", str(root))
    assert (result["kept"], result["refused"], result["ignored"], result["version"]) == (4, 0, 0, None)


@pytest.mark.parametrize("objects", [coco, sa1b])
def test_div2k_and_flickr2k_are_read_as_downloaded(tmp_path: Path, objects) -> None:
    root = div2k(tmp_path / "photographs", images=3)
    place = objects(tmp_path / "objects")
    words = [str(root), "--size-px", "64", "--size-px", "128", "--objects", str(place)]
    result = CliRunner().invoke(
        app, ["ingest", "high-resolution", *words, "--workspace", str(tmp_path / "w"), "--json"]
    )
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)
    assert counts["kept"] == 6
    assert counts["ignored_by"] == {"not in a folder that is read": 1}
    shutil.rmtree(place / ("annotations" if objects is coco else "sa_000000"))
    refused = CliRunner().invoke(
        app, ["ingest", "high-resolution", *words, "--workspace", str(tmp_path / "w")]
    )
    assert refused.exit_code == 1
    assert "no instances_*.json" in " ".join(refused.output.split())


def test_a_folder_of_clips_is_a_scene_and_a_shard_a_clip(tmp_path: Path) -> None:
    root = clips(tmp_path / "clips", count=2)
    (root / "broken.mp4").write_bytes(b"no video")
    (root / "notes.txt").write_text("words")
    result = ingest(tmp_path, "clip", str(root), "--frame-step", "20")
    assert result["ignored_by"] == {"not named as a video": 1}
    assert result["rejects"]["unreadable image"] == 1
    ledger = Workspace.existing(tmp_path / "workspace").ledger()
    refs = ledger.shards.all()
    assert len(refs) == result["shards"] == 2
    scenes = [{(row.scene, row.split) for row in ledger.shards.samples_of(ref.name)} for ref in refs]
    assert [len(own) for own in scenes] == [1, 1]
    assert scenes[0] != scenes[1]


def test_frames_with_truths_of_their_own_are_one_scene_in_a_meta_json(tmp_path: Path) -> None:
    """As was found: 40 frames of one video became 40 scenes, 33 of them for training and 6 for the test."""
    root = rord(tmp_path / "rord", scenes=1, frames=10)
    frames = sorted((root / "Training/jpg/MOV000_S01").glob("*_F*.jpg"))
    for part in ("source", "mask", "GT"):
        (tmp_path / "data" / part).mkdir(parents=True)
    records = []
    for number in range(40):
        name = f"{number:05d}"  # says nothing of a video
        shutil.copy(frames[number % 10], tmp_path / f"data/source/{name}.jpg")
        truth = photo(0).crop((number % 4, 0, 320, 240)).resize((320, 240))
        truth.save(tmp_path / f"data/GT/{name}.jpg", quality=60 + number)
        mask = photo(0).convert("L").point(lambda level: 0)
        mask.paste(255, (100 + number, 80, 180 + number, 160))
        mask.save(tmp_path / f"data/mask/{name}.png")
        records.append({"source": f"source/{name}.jpg", "mask": f"mask/{name}.png", "GT": f"GT/{name}.jpg"})
    (tmp_path / "data/meta.json").write_text(json.dumps(records))
    result = ingest(tmp_path, "meta-json", str(tmp_path / "data/meta.json"))
    assert result["kept"] == 40
    assert len(result["by_split"]) == 1
    ledger = Workspace.existing(tmp_path / "workspace").ledger()
    rows = [row for ref in ledger.shards.all() for row in ledger.shards.samples_of(ref.name)]
    assert len({row.scene for row in rows}) == 1


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("rord", "holds no frames of RORD"),
        ("mulan", "holds no *.p.zl"),
        ("coco", "holds no annotations/instances_*.json"),
        ("sa1b", "holds no sa_*.json"),
        ("clip", "holds no video"),
    ],
)
def test_another_folder_is_a_sentence(tmp_path: Path, kind: str, sentence: str) -> None:
    (tmp_path / "other").mkdir()
    words = ["ingest", kind, str(tmp_path / "other"), "--workspace", str(tmp_path / "w")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert sentence in " ".join(result.output.split())
