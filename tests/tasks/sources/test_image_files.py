"""Images and masks at the edge, against files written by Pillow and by hand."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from data_specs.errors import InputError
from data_specs.reject import RejectReason
from tasks.sources.image_files import (
    RejectedImage,
    check_same_size,
    image_facts,
    path_inside,
    read_image,
    read_mask,
)

HEIGHT, WIDTH = 48, 64


def pixels() -> np.ndarray:
    """H×W×3 uint8, smooth, red on the left and blue on the right: a swap of channels would show."""
    across = np.linspace(0, 255, WIDTH)
    rgb = np.stack([255 - across, np.full(WIDTH, 60.0), across], axis=1)
    return np.tile(rgb.astype(np.uint8), (HEIGHT, 1, 1))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def reason_of(path: Path, **limits: int) -> RejectReason:
    with pytest.raises(RejectedImage) as caught:
        read_image(path, **limits)
    assert isinstance(caught.value, InputError)
    assert str(path) in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(("suffix", "tolerance"), [("png", 0), ("jpg", 12)])
def test_colours_come_in_rgb_order(tmp_path: Path, suffix: str, tolerance: int) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels()).save(path)
    found = read_image(path)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - pixels()).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_palette_and_two_level_images_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pixels()).convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_passes_only_where_it_hides_nothing(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pixels()).convert(mode)
    image.save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png"), np.asarray(image.convert("RGB")))
    alpha = Image.new("L", image.size, 255)
    alpha.putpixel((3, 3), 254)
    image.putalpha(alpha)
    image.save(tmp_path / "glass.png")
    assert reason_of(tmp_path / "glass.png") == RejectReason.NOT_RGB


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95, 0.999])
def test_a_cut_jpeg_is_refused_where_cv2_alone_would_fill_it_grey(
    tmp_path: Path, kept: float, progressive: bool
) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=95, progressive=progressive)
    raw = path.read_bytes()
    assert read_image(path).shape == (128, 128, 3)
    path.write_bytes(raw[: int(len(raw) * kept)])
    assert reason_of(path) == RejectReason.TRUNCATED


def test_a_thumbnails_end_marker_does_not_stand_for_the_images(tmp_path: Path) -> None:
    thumbnail, whole = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels()).resize((16, 12)).save(thumbnail, "JPEG")
    exif = Image.Exif()
    Image.fromarray(pixels()).save(whole, "JPEG", exif=exif.tobytes(), comment=thumbnail.getvalue())
    raw = whole.getvalue()
    (tmp_path / "a.jpg").write_bytes(raw)
    read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(raw[:-40])
    assert reason_of(tmp_path / "a.jpg") == RejectReason.TRUNCATED


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_a_cut_png_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    assert reason_of(path) == RejectReason.TRUNCATED


def test_a_png_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels()).save(path)
    raw = bytearray(path.read_bytes())
    raw[raw.find(b"IDAT") + 20] ^= 1
    path.write_bytes(raw)
    assert reason_of(path) == RejectReason.TRUNCATED


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)])
def test_sixteen_bits_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 40_000, np.uint16))
    assert reason_of(tmp_path / "a.png") == RejectReason.NOT_8_BIT


def test_cmyk_is_refused(tmp_path: Path) -> None:
    Image.fromarray(pixels()).convert("CMYK").save(tmp_path / "a.jpg")
    assert reason_of(tmp_path / "a.jpg") == RejectReason.NOT_RGB


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_turned_image_or_mask_is_refused(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels()).save(path, exif=exif)
    assert reason_of(path) == RejectReason.ROTATED_BY_EXIF
    with pytest.raises(RejectedImage, match="EXIF"):
        read_mask(path)


def test_an_upright_exif_changes_nothing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif, icc_profile=profile)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels())


def test_too_many_pixels_are_seen_in_the_header_alone(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert reason_of(tmp_path / "bomb.png") == RejectReason.TOO_MANY_PIXELS
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    assert reason_of(tmp_path / "a.png", max_pixels=HEIGHT * WIDTH - 1) == RejectReason.TOO_MANY_PIXELS
    assert read_image(tmp_path / "a.png", max_pixels=HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"not an image", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40)]
)
def test_what_is_no_image_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert reason_of(tmp_path / "a.jpg") == RejectReason.UNREADABLE


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    path, rng = tmp_path / "a", np.random.default_rng(4)
    for suffix in ("jpg", "png"):
        good = io.BytesIO()
        Image.fromarray(pixels()).save(good, "JPEG" if suffix == "jpg" else "PNG")
        for _ in range(150):
            raw = bytearray(good.getvalue())
            for place in rng.integers(0, len(raw), 4):
                raw[place] = rng.integers(0, 256)
            path.write_bytes(raw)
            with contextlib.suppress(RejectedImage):
                assert read_image(path).dtype == np.uint8


def test_a_missing_file_and_a_folder_are_missing(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "none.png") == RejectReason.MISSING_FILE
    assert reason_of(tmp_path) == RejectReason.MISSING_FILE


def test_facts_need_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels()).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    facts = image_facts(path)
    assert (facts.height, facts.width, facts.format, facts.orientation) == (HEIGHT, WIDTH, "JPEG", 1)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16"])
def test_masks_of_every_kind_mean_the_same(tmp_path: Path, mode: str) -> None:
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[10:20, 5:50] = True
    levels = truth.astype(np.uint16) * 65535 if mode == "I;16" else truth.astype(np.uint8) * 255
    image = Image.fromarray(levels)
    image = image if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), truth)


def test_a_mask_is_cut_at_half_its_range(tmp_path: Path) -> None:
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[False, False, True, True]]


@pytest.mark.parametrize(("level", "reason"), [(0, RejectReason.MASK_EMPTY), (255, RejectReason.MASK_FULL)])
def test_empty_and_full_masks_are_refused(tmp_path: Path, level: int, reason: RejectReason) -> None:
    Image.fromarray(np.full((9, 9), level, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(RejectedImage) as caught:
        read_mask(tmp_path / "mask.png")
    assert caught.value.reason == reason


def test_a_coloured_image_is_no_mask(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "mask.png")
    with pytest.raises(RejectedImage) as caught:
        read_mask(tmp_path / "mask.png")
    assert caught.value.reason == RejectReason.NOT_RGB


def test_sizes_are_told_as_width_by_height() -> None:
    check_same_size(Path("mask.png"), (3, 4), (3, 4))
    with pytest.raises(RejectedImage, match="4×3 beside a source of 3×4"):
        check_same_size(Path("mask.png"), (3, 4), (4, 3))


def test_paths_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    assert path_inside(root, "a/../b.png") == root.resolve() / "b.png"
    (root / "link").symlink_to(tmp_path)
    for outside in ("../data2/x.png", "/etc/passwd", "link/x.png", "a/../../x.png"):
        with pytest.raises(RejectedImage) as caught:
            path_inside(root, outside)
        assert caught.value.reason == RejectReason.OUTSIDE_FOLDER


def test_a_reject_says_which_file_and_why(tmp_path: Path) -> None:
    with pytest.raises(RejectedImage) as caught:
        read_image(tmp_path / "none.png")
    reject = caught.value.as_reject("folder", "pair 7")
    assert (reject.source, reject.name, reject.reason) == ("folder", "pair 7", RejectReason.MISSING_FILE)
    assert "none.png" in reject.detail


def photograph() -> Image.Image:
    """Photo-like: smooth shapes and some grain, 640×480."""
    rng = np.random.default_rng(4)
    smooth = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (640, 480)).astype(np.int16)
    return Image.fromarray(np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8))


KINDS: dict[str, dict] = {
    "baseline": {},
    "best": {"quality": 100, "subsampling": 0},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 5},
    "own tables": {"optimize": True},
    "RGB inside": {"keep_rgb": True},
}


def zeros(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes(2048) + raw[at + 2048 :]


def noise(raw: bytes, at: int) -> bytes:
    return raw[:at] + np.random.default_rng(at).bytes(2048) + raw[at + 2048 :]


def half_and_an_end_marker(raw: bytes, at: int) -> bytes:
    return raw[:at] + b"\xff\xd9"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [zeros, noise, half_and_an_end_marker])
def test_a_damaged_jpeg_is_refused(tmp_path: Path, kind: str, damage) -> None:
    path = tmp_path / "a.jpg"
    photograph().save(path, **{"quality": 90, **KINDS[kind]})
    read_image(path)
    raw = path.read_bytes()
    first_scan = raw.find(b"\xff\xda") + 14
    path.write_bytes(damage(raw, (first_scan + len(raw)) // 2))
    assert reason_of(path) == RejectReason.DAMAGED


@pytest.mark.parametrize(
    "kind", [*KINDS, "grey", "bytes after the end", "another image after the end", "EXIF"]
)
def test_a_whole_jpeg_is_read_as_cv2_reads_it(tmp_path: Path, kind: str) -> None:
    path, image = tmp_path / "a.jpg", photograph()
    exif = Image.Exif()
    exif[0x010E] = "words" * 500
    image = image.convert("L") if kind == "grey" else image
    image.save(path, **{"quality": 85, **({"exif": exif} if kind == "EXIF" else KINDS.get(kind, {}))})
    if kind == "bytes after the end":
        path.write_bytes(path.read_bytes() + bytes(3000) + b"words")
    if kind == "another image after the end":
        path.write_bytes(2 * path.read_bytes())
    expected = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read_image(path), expected)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert reason_of(tmp_path / "a.png") == RejectReason.MISSING_FILE
    (tmp_path / "b.png").symlink_to("/dev/zero")
    assert reason_of(tmp_path / "b.png") == RejectReason.MISSING_FILE
    (tmp_path / "c.png").symlink_to("c.png")
    assert reason_of(tmp_path / "c.png") == RejectReason.MISSING_FILE
    assert reason_of(tmp_path / ("x" * 300)) == RejectReason.MISSING_FILE
