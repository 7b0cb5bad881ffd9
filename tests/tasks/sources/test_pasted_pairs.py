"""Photographs and pasted objects: sizes, what changes and what does not, splits, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from data_specs.errors import InputError
from data_specs.keys import derive_key, split_of_scene
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.pasted_pairs import (
    HighResolutionConfig,
    cut_object,
    high_resolution_triplets,
    list_photographs,
    paste,
    reduced_object,
)

Folder = Callable[..., Path]
RED = (230, 20, 20)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    assert cv2.imwrite(str(path), pixels)


def write_photograph(root: Path, name: str, height: int, width: int) -> np.ndarray:
    """Grey-green, brighter to the right and below: no red, and no two places alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([0 * rows + 60, 60 + rows * 120 // height, 60 + columns * 120 // width], 2)
    write(root / "images" / f"{name}.png", image.astype(np.uint8))
    return image.astype(np.uint8)


def write_object(root: Path, name: str, side: int = 100, at: int = 20) -> None:
    """A red disc of ``side`` across on blue."""
    mask = np.zeros((side + 40, side + 40), np.uint8)
    cv2.circle(mask, (at + side // 2, at + side // 2), side // 2 - 1, 255, -1)
    image = np.where(mask[..., None] > 0, np.array(RED, np.uint8), np.array((20, 20, 200), np.uint8))
    write(root / "objects/source" / f"{name}.png", image)
    write(root / "objects/mask" / f"{name}.png", mask)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight photographs of several shapes; objects for every split."""
    for number in range(8):
        write_photograph(
            tmp_path / "div2k", f"p{number}", *((70, 150), (140, 130), (300, 129), (64, 64))[number % 4]
        )
    for number in range(24):
        write_object(tmp_path / "div2k", f"o{number}")
    return tmp_path / "div2k"


def config(folder: Path, **changes) -> HighResolutionConfig:
    return HighResolutionConfig.model_validate({"path": folder, "sizes_px": (64, 128), **changes})


def read(folder: Path, start: int = 0, **changes) -> list[Triplet]:
    settings = config(folder, **changes)
    found = list(high_resolution_triplets(settings, list_photographs(settings)[start:]))
    assert all(isinstance(each, Triplet) for each in found), found
    return [each for each in found if isinstance(each, Triplet)]


def test_an_image_gets_the_largest_side_it_fills(folder: Path) -> None:
    assert [each.source.shape for each in read(folder)] == 2 * [
        (64, 64, 3),
        (128, 128, 3),
        (128, 128, 3),
        (64, 64, 3),
    ]
    assert {each.mask.shape for each in read(folder, sizes_px=(64,))} == {(64, 64)}


def test_images_are_cut_and_never_squeezed(tmp_path: Path) -> None:
    """A disc in the photograph is a disc in the sample, whichever side is the longer one."""
    for name, size in (("wide", (100, 220)), ("tall", (220, 100))):
        image = np.full((*size, 3), 90, np.uint8)
        cv2.circle(image, (size[1] // 2, size[0] // 2), 30, (255, 255, 255), -1)
        write(tmp_path / "images" / f"{name}.png", image)
    for number in range(24):
        write_object(tmp_path, f"o{number}")
    for each in read(tmp_path, sizes_px=(50,), object_area_max=0.03):
        disc = (each.ground_truth[..., 0] > 200).astype(np.uint8)
        _, _, width, height = cv2.boundingRect(disc)
        if width < 29 or height < 29:  # the square cut through the disc
            continue
        assert (width, height) == pytest.approx((30, 30), abs=1.5)


def test_nothing_outside_the_mask_changes_and_the_object_lies_inside(folder: Path) -> None:
    for each in read(folder):
        changed = (each.source != each.ground_truth).any(2)
        assert not (changed & ~each.mask).any()
        red = each.source[..., 0] > (RED[0] + 60) / 2
        assert not (each.ground_truth[..., 0] > 60).any()
        assert 0.015 < red.mean() < 0.2
        wider = cv2.dilate(red.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert not (each.mask & ~wider).any(), "the mask is little wider than the object"
        brighter = each.source[..., 2] > each.ground_truth[..., 2].astype(int) + 2
        assert not (brighter & each.mask).any(), "its old ground is blue"


def test_the_truth_is_the_photograph(tmp_path: Path) -> None:
    photograph = write_photograph(tmp_path, "p", 64, 64)
    for number in range(24):
        write_object(tmp_path, f"o{number}")
    (only,) = read(tmp_path)
    np.testing.assert_array_equal(only.ground_truth, photograph)
    assert only.origin.startswith(f"high_resolution:{tmp_path.name}/p.png+o")


def test_the_same_seed_the_same_triplets_from_any_start_on(folder: Path) -> None:
    whole = read(folder)
    assert [each.key for each in read(folder, start=5)] == [each.key for each in whole[5:]]
    others = read(folder, seed=1)
    assert all(one.key != other.key for one, other in zip(whole, others, strict=True))
    assert [one.scene for one in whole] == [other.scene for other in others]


def test_an_object_is_seen_in_one_split_alone(folder: Path) -> None:
    triplets = read(folder, validation_fraction=0.3, test_fraction=0.3)
    assert len({each.split for each in triplets}) > 1
    for each in triplets:
        stem = each.origin.rpartition("+")[2]
        key = derive_key("pasted object", stem)
        assert split_of_scene(key, validation=0.3, test=0.3) == each.split


def test_small_images_and_unfit_objects_are_refused_by_name(tmp_path: Path) -> None:
    write_photograph(tmp_path, "small", 63, 200)
    write_photograph(tmp_path, "fine", 64, 200)
    (tmp_path / "images/broken.png").write_bytes(b"no image")
    write_object(tmp_path, "tiny", side=8)
    write_object(tmp_path, "cut", at=-20)
    found = {
        each.name: each for each in high_resolution_triplets(config(tmp_path)) if isinstance(each, Reject)
    }
    assert {name: each.reason for name, each in found.items()} == {
        "small.png": RejectReason.TOO_SMALL,
        "fine.png": RejectReason.NO_OBJECT,
        "broken.png": RejectReason.UNREADABLE,
    }
    with pytest.raises(InputError, match="holds no folder images/"):
        list(high_resolution_triplets(config(tmp_path / "objects")))
    with pytest.raises(ValidationError, match="sizes_px"):
        config(tmp_path, sizes_px=(8,))
    with pytest.raises(ValidationError, match="object_area_min"):
        config(tmp_path, object_area_min=0.5)


def test_an_object_is_reduced_to_its_area_and_never_enlarged() -> None:
    mask = np.zeros((80, 120), bool)
    mask[20:60, 30:90] = True
    cut = cut_object(np.full((80, 120, 3), 200, np.uint8), mask)
    assert cut.alpha.sum() == 38 * 58, "a pixel less all around"
    small = reduced_object(cut, 500)
    assert small is not None
    assert small.alpha.sum() == pytest.approx(500, rel=0.1)
    height, width = small.alpha.shape
    assert width / height == pytest.approx(64 / 44, rel=0.08)
    assert reduced_object(cut, 38 * 58 + 1) is None


def test_an_edge_is_soft_and_its_rim_is_the_masks() -> None:
    mask = np.zeros((30, 30), bool)
    mask[5:25, 5:25] = True
    cut = cut_object(np.full((30, 30, 3), 255, np.uint8), mask)
    image, covered = paste(np.zeros((50, 50, 3), np.uint8), cut, 10, 12)
    assert ((image > 0).any(2) <= covered).all()
    assert covered.sum() >= 18 * 18
    assert ((image > 0) & (image < 60)).any(), "it fades out"
    assert ((image > 60) & (image < 240)).any()
    assert (image[20, 20:28] == 255).all()
