"""From file to file with OpenCV's own fill: what is written, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_specs.errors import InputError
from data_specs.reject import RejectReason
from models.baselines.telea import TeleaFill
from models.protocols import RemovalModel
from tasks.removal.files import RemovalFiles
from tasks.removal.remove import RemovalExtras, check_extras, remove_from_files, side_by_side
from tasks.sources.image_files import RejectedImage, read_image

SIZE = (60, 80)
NOTHING = RemovalExtras()


@pytest.fixture
def files(tmp_path: Path) -> RemovalFiles:
    """A soft ground with two red boxes, and a mask of each."""
    small = np.random.default_rng(0).integers(90, 150, (3, 4, 3), np.uint8)
    source = cv2.resize(small, (80, 60), interpolation=cv2.INTER_LINEAR)
    masks = []
    for number, left in enumerate((10, 50)):
        mask = np.zeros(SIZE, np.uint8)
        mask[20:36, left : left + 16] = 255
        source[mask > 0] = (255, 0, 0)
        Image.fromarray(mask).save(tmp_path / f"mask.{number}.png")
        masks.append(tmp_path / f"mask.{number}.png")
    Image.fromarray(source).save(tmp_path / "source.png")
    return RemovalFiles(tmp_path / "source.png", tuple(masks), tmp_path / "out" / "removal.png")


def test_every_mask_goes_and_later_ones_see_earlier_removals(files: RemovalFiles) -> None:
    report = remove_from_files(files, TeleaFill(), 3, RemovalExtras(compare=True))
    source = read_image(files.source)
    expected = source
    for path in files.masks:
        expected = cv2.inpaint(expected, np.asarray(Image.open(path)), 3, cv2.INPAINT_TELEA)
    removal = read_image(files.out)
    np.testing.assert_array_equal(removal, expected)
    assert removal.max() < 160, "no red is left"
    compare = read_image(files.out.with_name("removal.compare.png"))
    np.testing.assert_array_equal(compare, side_by_side(source, removal))
    assert compare.shape == (60, 168, 3)
    assert (report.out, report.beside) == (files.out, (files.out.with_name("removal.compare.png"),))
    assert (report.seed, report.notes, report.model_hash) == (3, (), "telea-3")


def test_a_soft_mask_is_cut_at_half_and_said(files: RemovalFiles) -> None:
    mask = cv2.GaussianBlur(np.asarray(Image.open(files.masks[0])), (0, 0), 3)
    Image.fromarray(mask).save(files.masks[0])
    report = remove_from_files(files, TeleaFill(), 0, NOTHING)
    assert report.notes == (f"{files.masks[0]}: a soft mask; what is brighter than half grey is removed",)
    changed = (read_image(files.out) != read_image(files.source)).any(axis=2)
    assert not changed[:, :40][mask[:, :40] <= 127].any()
    Image.fromarray((mask > 127).astype(np.uint8) * 255).save(files.masks[0].with_suffix(".jpg"), quality=95)
    ringing = RemovalFiles(files.source, (files.masks[0].with_suffix(".jpg"),), files.out)
    assert remove_from_files(ringing, TeleaFill(), 0, NOTHING).notes == ()


def _glass(path: Path) -> None:
    Image.new("RGBA", (80, 60), (10, 20, 30, 128)).save(path)


@pytest.mark.parametrize(
    ("which", "spoil", "reason"),
    [
        ("mask", lambda path: Image.new("L", (80, 60)).save(path), RejectReason.MASK_EMPTY),
        ("mask", lambda path: Image.new("L", (80, 60), 1).save(path), RejectReason.MASK_EMPTY),
        ("mask", lambda path: Image.new("L", (80, 60), 255).save(path), RejectReason.MASK_FULL),
        ("mask", lambda path: Image.effect_noise(SIZE, 80).save(path), RejectReason.SIZE_MISMATCH),
        ("source", _glass, RejectReason.NOT_RGB),
        ("source", lambda path: Image.new("RGB", (1, 1)).save(path), RejectReason.TOO_SMALL),
        ("source", lambda path: Image.new("RGB", (4000, 15)).save(path), RejectReason.TOO_SMALL),
        ("source", lambda path: path.write_bytes(path.read_bytes()[:-9]), RejectReason.TRUNCATED),
        ("source", lambda path: path.write_text("GIF89a"), RejectReason.UNREADABLE),
    ],
    ids=["empty", "levels 0 and 1", "full", "turned", "alpha", "1×1", "strip", "cut", "no image"],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    files: RemovalFiles, which: str, spoil, reason: RejectReason
) -> None:
    path = files.source if which == "source" else files.masks[1]
    spoil(path)
    with pytest.raises(RejectedImage) as caught:
        remove_from_files(files, TeleaFill(), 0, RemovalExtras(compare=True))
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not any(files.out.parent.iterdir())


def test_an_output_that_cannot_be_written_is_said_before_the_source_is_read(files: RemovalFiles) -> None:
    files.source.unlink()
    with pytest.raises(InputError, match=r"end the name in \.png"):
        remove_from_files(RemovalFiles(files.source, files.masks, Path("a.tiff")), TeleaFill(), 0, NOTHING)


def test_attention_is_not_to_be_had_of_every_remover() -> None:
    telea: RemovalModel = TeleaFill()
    check_extras(telea, NOTHING)
    with pytest.raises(InputError, match="has no attention map"):
        check_extras(telea, RemovalExtras(attention=True))
