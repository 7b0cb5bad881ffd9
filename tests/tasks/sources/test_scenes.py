"""Scenes at ingest: near images share one, unrelated ones do not, and no scene has two splits."""

import multiprocessing
import sqlite3
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from scipy.fft import dctn

from data_specs.arrays import RgbImage
from data_specs.keys import Split, derive_key, split_of_scene
from data_specs.reject import RejectReason
from tasks.sources.clip.clip import SAMPLE_CLIP
from tasks.sources.image_files import RejectedImage
from tasks.sources.ingest import Cursor, IngestWork, ingest_files
from tasks.sources.near_hashes import RADIUS
from tasks.sources.readers import FolderSource, PoolSource
from tasks.sources.scenes import Scenes, look_of, thumbnails_agree
from tasks.sources.source_files import files_digest
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample
from tasks.storage.workspace import Workspace


class Shares(NamedTuple):
    """Of scenes that are held out."""

    validation_fraction: float = 0.1
    test_fraction: float = 0.1


SHARES = Shares()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def scenes(workspace: Workspace) -> Scenes:
    return Scenes(workspace.ledger())


def scene_of(scenes: Scenes, image: RgbImage, lineage: str | None = None) -> str:
    return scenes(Path("a.png"), np.ascontiguousarray(image), SHARES, lineage)[0]


def photo_like(seed: int) -> RgbImage:
    """96×128×3: noise whose amplitude falls with frequency, as photographs' does; of any light."""
    chance = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(128)[None])
    frequency[0, 0] = 1
    layers = []
    for _ in range(4):
        layer = np.fft.ifft2(np.fft.fft2(chance.normal(size=(96, 128))) / frequency).real
        layers.append(layer / layer.std())
    image = layers[0][..., None] + 0.3 * np.stack(layers[1:], -1)
    image = chance.uniform(70, 180) + chance.uniform(20, 55) * image + chance.normal(0, 12, 3)
    return as_jpeg(np.clip(image, 0, 255).astype(np.uint8), 90)


def as_jpeg(image: RgbImage, quality: int) -> RgbImage:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def test_the_hash_is_scipys(scenes: Scenes) -> None:
    """By another DCT and another reduction, in float64 all through: bits near the median may differ."""
    apart = []
    for seed in range(60):
        image = photo_like(seed)
        grey = image.astype(float) @ [0.299, 0.587, 0.114]
        reduced = grey.reshape(32, 3, 32, 4).mean((1, 3))
        low = np.asarray(dctn(reduced, norm="ortho"))[:8, :8].ravel()
        bits = "".join("1" if each > np.median(low[1:]) else "0" for each in low)
        apart.append((int(look_of(image).hash) ^ int(bits, 2)).bit_count())
    assert max(apart) <= 4
    assert np.mean(apart) < 0.5


def test_a_thousand_unrelated_images_are_a_thousand_scenes(scenes: Scenes) -> None:
    assert len({scene_of(scenes, photo_like(seed)) for seed in range(1000)}) >= 999


def test_studio_scenes_with_their_soft_grounds_are_not_joined(scenes: Scenes) -> None:
    config = SyntheticConfig(size_px=64, seed=5)
    assert len({scene_of(scenes, make_sample(config, number).ground_truth) for number in range(200)}) == 200


VARIANTS: dict[str, Callable[[RgbImage], RgbImage]] = {
    "mirrored": lambda image: image[:, ::-1],
    "JPEG of quality 40": lambda image: as_jpeg(image, 40),
    "half the size": lambda image: np.asarray(cv2.resize(image, (64, 48)), np.uint8),
    "brighter": lambda image: np.clip(image.astype(int) + 15, 0, 255).astype(np.uint8),
    "an object in it": lambda image: np.asarray(
        cv2.rectangle(image.copy(), (50, 40), (75, 70), (250, 20, 30), -1), np.uint8
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_an_image_are_its_scene(scenes: Scenes, name: str) -> None:
    images = [photo_like(seed) for seed in range(25)]
    own = [scene_of(scenes, each) for each in images]
    assert [scene_of(scenes, VARIANTS[name](each)) for each in images] == own


def test_what_is_known_lies_in_the_ledger(workspace: Workspace, scenes: Scenes) -> None:
    image = photo_like(1)
    own = scene_of(scenes, image)
    assert scene_of(Scenes(workspace.ledger()), as_jpeg(image, 30)) != own, "nothing is recorded yet"
    scenes.record()
    later = Scenes(workspace.ledger())
    assert scene_of(later, as_jpeg(image, 30)) == scene_of(later, image[:, ::-1]) == own


def test_a_scenes_split_stays_whatever_shares_a_later_ingest_has(scenes: Scenes) -> None:
    wide = Shares(0.0, 0.5)
    seed = next(seed for seed in count() if scenes(Path("a"), photo_like(seed), wide, None)[1] == "test")
    narrow = Shares(0.0, 0.0)
    assert scenes(Path("b"), as_jpeg(photo_like(seed), 40), narrow, None)[1] == "test"


def near(one: RgbImage, other: RgbImage) -> bool:
    looks = look_of(one), look_of(other)
    apart = (int(looks[0].hash) ^ int(looks[1].hash)).bit_count()
    return apart <= RADIUS and bool(thumbnails_agree(looks[0].thumbnail, looks[1].thumbnail[None])[0])


def test_what_would_join_two_splits_is_refused(scenes: Scenes) -> None:
    lineages: dict[Split, str] = {}
    for number in count():
        key = derive_key(number)
        lineages.setdefault(split_of_scene(key), key)
        if {"train", "test"} <= lineages.keys():
            break
    first, last = photo_like(3).astype(float), photo_like(4).astype(float)

    def between(share: float) -> RgbImage:
        return np.asarray((1 - share) * first + share * last, np.uint8)

    far = next(step for step in np.linspace(0, 0.5, 101) if not near(between(0), between(step)))
    middle = between(far / 2)
    assert near(between(0), middle)
    assert near(between(far), middle)
    scene_of(scenes, between(0), lineages["train"])
    scene_of(scenes, between(far), lineages["test"])
    with pytest.raises(RejectedImage) as refused:
        scene_of(scenes, middle)
    assert refused.value.reason == RejectReason.TWO_SPLITS


def clip_frames(number: int) -> list[RgbImage]:
    """Frames spread over the clip that ships here, in blue, green, red."""
    film, frames = cv2.VideoCapture(str(SAMPLE_CLIP)), []
    while (read := film.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    return frames[:: len(frames) // number][:number]


def write_triplets(folder: Path, images: Sequence[RgbImage], stems: Sequence[str]) -> FolderSource:
    """Each image is its own ground truth; a square of it is masked and painted over."""
    for part in ("source", "mask", "ground_truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for image, stem in zip(images, stems, strict=True):
        height, width = image.shape[:2]
        place = (slice(height // 3, height // 2), slice(width // 3, width // 2))
        source, mask = image.copy(), np.zeros((height, width), np.uint8)
        source[place], mask[place] = (30, 200, 60), 255
        for part, pixels in (("source", source), ("mask", mask), ("ground_truth", image)):
            assert cv2.imwrite(str(folder / part / f"{stem}.png"), pixels)
    return FolderSource(path=folder, size_px=32)


def take_in(workspace: Workspace, source: FolderSource | PoolSource, shard_samples: int = 20) -> None:
    start, digest = Cursor(), files_digest(source)
    for index in count():
        work = IngestWork(
            round=0, index=index, source=source, files_digest=digest, shard_samples=shard_samples, start=start
        )
        intake = ingest_files(workspace, work)
        start = intake.end
        if intake.finished:
            return


def rows_of(workspace: Workspace) -> list[tuple[str, str, str]]:
    """(key, scene, split) of every sample."""
    with sqlite3.connect(workspace.root / "ledger.sqlite") as database:
        return database.execute("SELECT key, scene, split FROM samples ORDER BY key").fetchall()


@pytest.fixture(scope="module")
def frames() -> list[RgbImage]:
    return clip_frames(48)


def odd_names(number: int) -> list[str]:
    """Names that say nothing of an order."""
    return [derive_key("name", each) for each in range(number)]


def test_48_frames_of_one_clip_are_one_scene_in_several_shards_and_after_a_kill(
    tmp_path: Path, workspace: Workspace, frames: list[RgbImage]
) -> None:
    source = write_triplets(tmp_path / "film", frames, odd_names(48))
    take_in(workspace, source)
    rows = rows_of(workspace)
    assert len(rows) == 48
    assert len({(scene, split) for _, scene, split in rows}) == 1
    shards = workspace.ledger().shards.all()
    assert len(shards) == 3
    # Killed when the images of the last two shards were recorded and their rows were not.
    with sqlite3.connect(workspace.root / "ledger.sqlite") as database:
        for ref in shards[1:]:
            database.execute("DELETE FROM samples WHERE shard = ?", [ref.name])
            database.execute("DELETE FROM shards WHERE name = ?", [ref.name])
        database.execute("DELETE FROM results")
    take_in(workspace, source)
    assert rows_of(workspace) == rows
    assert workspace.ledger().shards.all() == shards


def test_frames_that_come_in_two_ingests_are_one_scene(
    tmp_path: Path, workspace: Workspace, frames: list[RgbImage]
) -> None:
    take_in(workspace, write_triplets(tmp_path / "one", frames[::2], odd_names(24)))
    take_in(workspace, write_triplets(tmp_path / "other", frames[1::2], odd_names(24)))
    assert len({(scene, split) for _, scene, split in rows_of(workspace)}) == 1
    assert workspace.ledger().rejects.all() == []


def test_frames_that_two_processes_ingest_at_once_are_one_scene(
    tmp_path: Path, workspace: Workspace, frames: list[RgbImage]
) -> None:
    sources = [
        write_triplets(tmp_path / f"part{number}", frames[number:16:4], odd_names(4)) for number in range(4)
    ]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(take_in, [(workspace, source, 2) for source in sources])
    rows = rows_of(workspace)
    assert len(rows) == 16
    assert len({scene for _, scene, _ in rows}) == 1


def test_frames_are_told_by_their_names_where_the_camera_moves(tmp_path: Path, workspace: Workspace) -> None:
    images = [photo_like(seed) for seed in range(6)]
    stems = ["pan_frame_0001", "pan_frame_0040", "walk_frame_0001", "walk_frame_0002", "IMG_1", "IMG_2"]
    take_in(workspace, write_triplets(tmp_path / "film", images, stems), shard_samples=1)
    assert len({scene for _, scene, _ in rows_of(workspace)}) == 4, "two films and two photographs"


def test_a_pools_near_images_are_one_scene(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "pool/images").mkdir(parents=True)
    (tmp_path / "pool/masks").mkdir()
    mask = np.zeros((96, 128), np.uint8)
    mask[30:60, 40:80] = 255
    lines = ["MaskPath,ImageID,LabelName"]
    for number in range(12):
        image = as_jpeg(photo_like(number // 2), 95 - number % 2 * 40)
        assert cv2.imwrite(str(tmp_path / f"pool/images/i{number}.jpg"), image)
        assert cv2.imwrite(str(tmp_path / f"pool/masks/m{number}.png"), mask)
        lines.append(f"m{number}.png,i{number},/m/1")
    (tmp_path / "pool/train-annotations-object-segmentation.csv").write_text("\n".join(lines))
    (tmp_path / "pool/class-descriptions-boxable.csv").write_text("/m/1,Dog\n")
    take_in(workspace, PoolSource(path=tmp_path / "pool", size_px=32), shard_samples=5)
    rows = rows_of(workspace)
    assert (len(rows), len({scene for _, scene, _ in rows})) == (12, 6)
