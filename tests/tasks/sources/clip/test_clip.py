"""The clip source against a video whose plate and masks are known exactly."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.clip.change import change_mask, change_score, clean_plate
from tasks.sources.clip.clip import SAMPLE_CLIP, ClipConfig, clip_triplets, time_blocks
from tasks.sources.clip.frames import match_light_locally

FRAMES, HEIGHT, WIDTH, RATE = 120, 144, 192, 10.0
SLOW = slice(36, 84)
"""The slow mover stands at one place for 48 of 120 frames: 40 %."""


def true_plate(width: int = WIDTH) -> np.ndarray:
    """H×W×3 uint8 with texture and edges, from a seed."""
    rng = np.random.default_rng(5)
    coarse = rng.uniform(70, 190, (9, width // 16, 3)).astype(np.float32)
    plate = cv2.resize(coarse, (width, HEIGHT), interpolation=cv2.INTER_CUBIC)
    plate += cv2.GaussianBlur(rng.normal(0, 24, (HEIGHT, width, 3)).astype(np.float32), (0, 0), 1)
    cv2.rectangle(plate, (20, 20), (60, 50), (60, 90, 150), -1)
    return np.clip(plate, 30, 225).astype(np.uint8)


def true_mask(index: int) -> np.ndarray:
    """H×W bool: a walker, and a slow mover that stands still in mid-clip."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (8 + index * 3 % 176, 110), (7, 16), 0, 0, 360, 1, -1)
    if SLOW.start <= index < SLOW.stop:
        cv2.ellipse(mask, (140, 50), (8, 18), 0, 0, 360, 1, -1)
    return mask.astype(bool)


def true_light(index: int) -> float:
    """Gain of frame ``index``: 8 % drift over the clip."""
    return 1 + 0.08 * (index / FRAMES - 0.5)


def write_video(path: Path, images: list[np.ndarray]) -> Path:
    """Compress RGB images with MPEG-4."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (width, height))
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def true_frames() -> list[np.ndarray]:
    """The clip before compression: plate, light, shapes, camera noise."""
    rng, plate = np.random.default_rng(11), true_plate().astype(np.float32)
    frames = []
    for index in range(FRAMES):
        frame = plate * true_light(index)
        frame[true_mask(index)] = (25, 20, 45)
        frames.append(np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8))
    return frames


def read_back(path: Path) -> list[np.ndarray]:
    reader, frames = cv2.VideoCapture(str(path)), []
    while True:
        found, frame = reader.read()
        if not found:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


@pytest.fixture(scope="module")
def known_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "known.mp4", true_frames())


def known_config(path: Path) -> ClipConfig:
    return ClipConfig(
        path=path, size_px=32, crop_min_px=40, crop_max_px=96, frame_step=3, scene_seconds=3, gap_seconds=1
    )


def rejects_of(found: list[Triplet | Reject]) -> list[RejectReason]:
    return [one.reason for one in found if isinstance(one, Reject)]


def test_the_plate_survives_noise_drift_compression_and_a_slow_mover(known_clip: Path) -> None:
    frames = read_back(known_clip)
    plate = clean_plate(frames[::2])
    truth = np.clip(true_plate() * true_light(60), 0, 255).astype(np.uint8)
    assert cv2.PSNR(plate, truth) > 33
    where_it_stood = (slice(30, 70), slice(130, 150))
    assert cv2.PSNR(plate[where_it_stood], truth[where_it_stood]) > 30


def test_a_place_covered_most_of_the_time_by_many_things_is_found() -> None:
    rng = np.random.default_rng(3)
    samples = [np.full((40, 40, 3), 100, np.uint8) for _ in range(20)]
    for index, sample in enumerate(samples):
        if index >= 8:  # Covered 12 times of 20, each time by another colour, all darker.
            sample[10:20, 10:20] = 5 * index - 40
        sample[:] = np.clip(sample + rng.normal(0, 1.5, sample.shape), 0, 255)
    assert abs(int(np.median(samples, axis=0)[15, 15, 0]) - 100) > 20  # A plain median fails.
    assert np.abs(clean_plate(samples).astype(int) - 100).max() <= 3


def test_masks_match_the_known_shapes(known_clip: Path) -> None:
    frames = read_back(known_clip)
    plate = clean_plate(frames[::2])
    overlaps, missed, stray = [], [], []
    for index in range(0, FRAMES, 10):
        score = change_score(frames[index], match_light_locally(plate, frames[index]))
        found, truth = change_mask(score, threshold=0.2, min_area_px=20), true_mask(index)
        rim = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        overlaps.append((found & truth).sum() / (found | truth).sum())
        missed.append((truth & ~found).sum() / truth.sum())
        stray.append((found & ~rim).sum())
    # The codec smears a pixel of each shape into its surroundings, and that pixel has to go too: of a
    # 14×32 ellipse with a rim of one pixel, 81 % is ellipse.
    assert min(overlaps) > 0.75
    assert max(missed) < 0.03
    assert max(stray) <= 2


def test_an_empty_noisy_frame_has_an_empty_mask(known_clip: Path) -> None:
    plate = true_plate()
    noisy = np.clip(plate + np.random.default_rng(2).normal(0, 4, plate.shape), 0, 255).astype(np.uint8)
    assert not change_mask(change_score(noisy, plate), threshold=0.2, min_area_px=20).any()


def test_ground_truth_is_the_empty_scene_in_the_frames_light(known_clip: Path) -> None:
    triplets = [one for one in clip_triplets(known_config(known_clip)) if isinstance(one, Triplet)]
    assert len(triplets) > 20
    for triplet in triplets:
        place, corner = triplet.origin.split("@")[1].split("+")
        left, top, side = map(int, corner.split(","))
        truth = np.clip(true_plate() * true_light(int(place)), 0, 255).astype(np.uint8)
        truth = cv2.resize(
            truth[top : top + side, left : left + side], (32, 32), interpolation=cv2.INTER_AREA
        )
        assert cv2.PSNR(triplet.ground_truth, truth) > 28, triplet.origin
        whole = true_mask(int(place))[top : top + side, left : left + side].astype(np.float32)
        whole = cv2.resize(whole, (32, 32), interpolation=cv2.INTER_AREA)
        assert triplet.mask[whole > 0.9].mean() > 0.9, triplet.origin
        rim = cv2.dilate(triplet.mask.astype(np.uint8), np.ones((11, 11), np.uint8)) == 0
        difference = np.abs(triplet.source.astype(int) - triplet.ground_truth)[rim]
        assert difference.size == 0 or difference.mean() < 2, triplet.origin


def test_splits_are_apart_in_time_and_share_no_scene(known_clip: Path) -> None:
    triplets = [one for one in clip_triplets(known_config(known_clip)) if isinstance(one, Triplet)]
    frames, scenes = {}, {}
    for triplet in triplets:
        frames.setdefault(triplet.split, set()).add(int(triplet.origin.split("@")[1].split("+")[0]))
        scenes.setdefault(triplet.split, set()).add(triplet.scene)
    assert set(frames) == {"train", "validation", "test"}
    assert min(frames["validation"]) - max(frames["train"]) >= RATE * 1  # The gap of one second.
    assert min(frames["test"]) - max(frames["validation"]) >= RATE * 1
    assert not scenes["train"] & scenes["test"]
    assert not scenes["train"] & scenes["validation"]


def test_a_clip_of_two_blocks_holds_nothing_out() -> None:
    blocks = time_blocks(7, scene_seconds=3, gap_seconds=1)
    assert blocks.count == 2
    assert {blocks.split_of(block) for block in range(2)} == {"train"}
    assert not any(blocks.in_gap(seconds) for seconds in range(7))


def test_the_same_clip_gives_the_same_triplets(known_clip: Path) -> None:
    config = known_config(known_clip)
    keys = [[one.key for one in clip_triplets(config) if isinstance(one, Triplet)] for _ in range(2)]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(keys[0])


def test_a_panned_clip_is_refused_whole(tmp_path: Path) -> None:
    wide = true_plate(WIDTH + FRAMES)
    panned = write_video(
        tmp_path / "panned.mp4", [wide[:, i : i + WIDTH].copy() for i in range(0, FRAMES, 2)]
    )
    assert rejects_of(list(clip_triplets(known_config(panned)))) == [RejectReason.CAMERA_MOVED]


def test_a_knock_to_the_camera_costs_its_frames_only(tmp_path: Path) -> None:
    frames = [np.roll(frame, 9, axis=1) if i >= 100 else frame for i, frame in enumerate(true_frames())]
    found = list(clip_triplets(known_config(write_video(tmp_path / "knocked.mp4", frames))))
    moved = [one for one in found if isinstance(one, Reject) and one.reason == RejectReason.CAMERA_MOVED]
    kept = [int(one.origin.split("@")[1].split("+")[0]) for one in found if isinstance(one, Triplet)]
    assert moved
    assert all(int(one.name.split("@")[1]) >= 100 for one in moved)
    assert len(kept) > 20
    assert max(kept) < 100


def test_a_clip_where_nothing_moves_is_said_so(tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.mp4", [true_plate()] * 60)
    found = rejects_of(list(clip_triplets(known_config(still))))
    assert found
    assert set(found) == {RejectReason.NO_CHANGE}


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_an_unreadable_video_is_one_reject(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    assert rejects_of(list(clip_triplets(ClipConfig(path=tmp_path / "bad.mp4")))) == [RejectReason.UNREADABLE]
    assert rejects_of(list(clip_triplets(ClipConfig(path=tmp_path / "none.mp4")))) == [
        RejectReason.UNREADABLE
    ]


def test_a_cut_video_gives_what_can_be_read_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    for frame in true_frames():
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    found = list(clip_triplets(known_config(path)))
    assert RejectReason.TRUNCATED in rejects_of(found)
    assert sum(isinstance(one, Triplet) for one in found) > 10


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="crop_min_px"):
        ClipConfig(size_px=128, crop_min_px=64)


def test_the_sample_clip_gives_enough_whole_objects() -> None:
    seen: list[tuple[int, int]] = []
    found = list(clip_triplets(ClipConfig(), progress=lambda done, total: seen.append((done, total))))
    triplets = [one for one in found if isinstance(one, Triplet)]
    assert SAMPLE_CLIP.stat().st_size <= 3_000_000
    assert len(triplets) >= 300
    assert seen[-1] == (397, 397)
    for triplet in triplets:
        assert triplet.source.shape == triplet.ground_truth.shape == (64, 64, 3)
        assert 0.005 < triplet.mask.mean() < 0.5
        changed = np.abs(triplet.source.astype(int) - triplet.ground_truth).mean(axis=2)
        assert changed[triplet.mask].mean() > 8  # An object was there …
        assert changed[~triplet.mask].mean() < 8  # … and the rest is the same shot.
