"""Backgrounds from a folder, a clip and the studio."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_specs.errors import InputError
from data_specs.plate import Background
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.plate import PlateConfig, synthetic_plate
from tasks.sources.backgrounds import (
    ClipBackground,
    FolderBackgrounds,
    SyntheticBackgrounds,
    count_backgrounds,
    middle_square,
    read_backgrounds,
)
from tasks.sources.source_files import images_digest
from tasks.sources.synthetic.samples import SyntheticConfig


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("wide.jpg", "tall.png")):
        small = np.random.default_rng(number).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        image = cv2.resize(small, (300, 200), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / name), image if number == 0 else image.transpose(1, 0, 2))
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_a_films_frames_are_one_scene(photos: Path) -> None:
    for number in (1, 20):
        grey = np.full((200, 300, 3), number * 9, np.uint8)
        assert cv2.imwrite(str(photos / f"frame_{number:04d}.png"), grey)
    found = [
        each
        for each in read_backgrounds(FolderBackgrounds(path=photos), 0, 9)
        if isinstance(each, Background)
    ]
    assert (len(found), len({each.scene for each in found})) == (4, 3)


def test_a_folders_images_are_middle_squares(photos: Path) -> None:
    source = FolderBackgrounds(path=photos, size_px=100, focal_fraction=1.0)
    assert count_backgrounds(source) == 3
    broken, tall, wide = read_backgrounds(source, 0, 3)
    assert isinstance(broken, Reject)
    assert broken.reason in {RejectReason.UNREADABLE, RejectReason.TRUNCATED}
    for background in (tall, wide):
        assert isinstance(background, Background)
        assert background.image.shape == (100, 100, 3)
        # 200 of 300 pixels of the longer side are seen through the same lens.
        assert background.focal_px == pytest.approx(150)
    assert [each.origin for each in read_backgrounds(source, 2, 5) if isinstance(each, Background)] == [
        "folder:photos/wide.jpg"
    ]


def test_a_small_image_is_never_enlarged() -> None:
    image = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    square = middle_square(image, 64)
    assert np.array_equal(square, image[:, 5:35])


def test_the_studios_backgrounds_are_its_plates() -> None:
    source = SyntheticBackgrounds(renderer=SyntheticConfig(size_px=64, seed=3), scenes=4)
    (found,) = read_backgrounds(source, 2, 1)
    plate = synthetic_plate(source.renderer, 2, PlateConfig())
    assert isinstance(found, Background)
    assert not isinstance(plate, Reject)
    assert np.array_equal(found.image, plate.image)
    assert (found.scene, found.origin, found.focal_px) == (plate.scene, plate.origin, plate.focal_px)
    assert len(list(read_backgrounds(source, 2, 9))) == 2
    assert images_digest(source) == ""


def test_a_clips_background_is_its_empty_scene() -> None:
    source = ClipBackground(size_px=128)
    (found,) = read_backgrounds(source, 0, 1)
    assert isinstance(found, Background)
    assert found.image.shape == (128, 128, 3)
    assert count_backgrounds(source) == 1
    assert list(read_backgrounds(source, 1, 1)) == []


def test_changed_photos_are_other_work_and_a_missing_folder_one_sentence(photos: Path) -> None:
    source = FolderBackgrounds(path=photos)
    before = images_digest(source)
    (photos / "wide.jpg").unlink()
    assert images_digest(source) != before
    with pytest.raises(InputError, match="is not a folder"):
        count_backgrounds(FolderBackgrounds(path=photos / "none"))
