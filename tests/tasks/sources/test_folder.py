"""Plain triplet folders: what is read, what is refused, and that a refusal stops nothing."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.triplet_files import FolderConfig, folder_triplets

HEIGHT, WIDTH = 80, 120
PARTS = ("source", "mask", "ground_truth")


def image(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def write_triplet(root: Path, stem: str, seed: int) -> None:
    """A square object of 20 px at (30, 50), on the ground truth's image."""
    ground_truth, mask = image(seed), np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[30:50, 50:70] = 255
    source = ground_truth.copy()
    source[mask > 0] = (200, 30, 60)
    for part, pixels in zip(PARTS, (source, mask, ground_truth), strict=True):
        (root / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / part / f"{stem}.png")


def read(root: Path) -> tuple[list[Triplet], list[Reject]]:
    found = list(folder_triplets(FolderConfig(path=root, size_px=32)))
    return [one for one in found if isinstance(one, Triplet)], [
        one for one in found if isinstance(one, Reject)
    ]


def test_a_good_folder_is_read_pixel_by_pixel(tmp_path: Path) -> None:
    write_triplet(tmp_path, "a", 1)
    (triplet,), rejects = read(tmp_path)
    assert not rejects
    square = (slice(0, 80), slice(20, 100))  # The whole height, about the object's middle at column 60.
    expected = np.asarray(Image.fromarray(image(1)[square]).resize((32, 32), Image.Resampling.BOX))
    assert np.abs(triplet.ground_truth.astype(int) - expected).mean() < 3
    object_place = np.zeros((32, 32), bool)
    object_place[12:20, 12:20] = True  # 30..50 and 50..70 of the image, reduced 2.5 times.
    np.testing.assert_array_equal(triplet.mask, object_place)
    assert np.abs(triplet.source[object_place].astype(int) - (200, 30, 60)).max() <= 1
    np.testing.assert_array_equal(triplet.source[:8], triplet.ground_truth[:8])
    assert triplet.origin == f"folder:{tmp_path.name}/a"


def test_triplets_of_one_ground_truth_are_one_scene(tmp_path: Path) -> None:
    for stem, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_triplet(tmp_path, stem, seed)
    changed = cv2.imread(str(tmp_path / "source/b.png"))
    assert changed is not None
    cv2.imwrite(str(tmp_path / "source/b.png"), 255 - changed)
    triplets, _ = read(tmp_path)
    assert triplets[0].scene == triplets[1].scene != triplets[2].scene
    assert triplets[0].split == triplets[1].split
    assert len({triplet.key for triplet in triplets}) == 3


def spoil(path: Path, how: str) -> None:
    """Replace the image or mask at ``path`` by a bad one."""
    pixels = image(9)
    if how == "truncated JPEG":
        Image.fromarray(pixels).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
        raw = path.with_suffix(".jpg").read_bytes()
        path.with_suffix(".jpg").write_bytes(raw[: len(raw) // 2])
    elif how == "16 bits":
        cv2.imwrite(str(path), pixels.astype(np.uint16) * 257)
    elif how == "CMYK":
        Image.fromarray(pixels).convert("CMYK").save(path.with_suffix(".jpg"))
        path.unlink()
    elif how == "turned by EXIF":
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.fromarray(pixels).save(path.with_suffix(".jpg"), exif=exif)
        path.unlink()
    elif how == "another size":
        Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), 30)).save(path)
    elif how in ("empty", "full"):
        Image.fromarray(np.full((HEIGHT, WIDTH), 255 if how == "full" else 0, np.uint8)).save(path)
    elif how == "link outside":
        outside = path.parents[2] / "outside.png"
        path.rename(outside)
        path.symlink_to(outside)
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif how == "missing":
        path.unlink()


@pytest.mark.parametrize(
    ("part", "how", "reason"),
    [
        ("source", "truncated JPEG", RejectReason.TRUNCATED),
        ("source", "16 bits", RejectReason.NOT_8_BIT),
        ("ground_truth", "CMYK", RejectReason.NOT_RGB),
        ("source", "turned by EXIF", RejectReason.ROTATED_BY_EXIF),
        ("ground_truth", "turned by EXIF", RejectReason.ROTATED_BY_EXIF),
        ("mask", "another size", RejectReason.SIZE_MISMATCH),
        ("mask", "empty", RejectReason.MASK_EMPTY),
        ("mask", "full", RejectReason.MASK_FULL),
        ("mask", "missing", RejectReason.MISSING_FILE),
        ("source", "link outside", RejectReason.OUTSIDE_FOLDER),
        ("source", "pipe", RejectReason.MISSING_FILE),
    ],
)
def test_a_bad_file_is_one_named_reject_and_the_rest_goes_on(
    tmp_path: Path, part: str, how: str, reason: RejectReason
) -> None:
    root = tmp_path / "data"
    for number, stem in enumerate("abc"):
        write_triplet(root, stem, number)
    spoil(root / part / "b.png", how)
    triplets, rejects = read(root)
    assert [triplet.origin[-1] for triplet in triplets] == ["a", "c"]
    assert [(reject.name, reject.reason) for reject in rejects] == [("b", reason)]


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    write_triplet(tmp_path, "a", 1)
    Image.fromarray(image(2)).save(tmp_path / "source/a.jpg")
    triplets, rejects = read(tmp_path)
    assert not triplets
    assert [reject.reason for reject in rejects] == [RejectReason.BAD_RECORD]


def test_images_below_the_sample_size_and_masks_off_limits_are_refused(tmp_path: Path) -> None:
    write_triplet(tmp_path, "a", 1)
    for config, reason in (
        (FolderConfig(path=tmp_path, size_px=96), RejectReason.TOO_SMALL),
        (FolderConfig(path=tmp_path, size_px=32, mask_area_min=0.2), RejectReason.MASK_AREA),
        (FolderConfig(path=tmp_path, size_px=32, max_pixels=1000), RejectReason.TOO_MANY_PIXELS),
    ):
        (found,) = folder_triplets(config)
        assert isinstance(found, Reject)
        assert found.reason == reason


def test_a_folder_without_its_parts_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InputError, match="mask/"):
        folder_triplets(FolderConfig(path=tmp_path))
