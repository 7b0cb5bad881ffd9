"""Every file and row is counted: folders are built by hand here, and what must become of each is known."""

import json
import os
import socket
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app

pytestmark = pytest.mark.usefixtures("prefect_server")

PARTS = ("source", "mask", "ground_truth")


def ingest(tmp_path: Path, *words: str) -> dict:
    """As a user does it; the command's own check of the sum is part of it."""
    result = CliRunner().invoke(
        app, ["ingest", *words, "--size-px", "32", "--workspace", str(tmp_path / "workspace"), "--json"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["found"] == told["kept"] + told["refused"] + told["ignored"]
    assert told["kept"] == told["samples"]
    assert told["refused"] == sum(told["rejects"].values())
    assert told["ignored"] == sum(told["ignored_by"].values())
    assert told["ignored_first"].keys() == told["ignored_by"].keys()
    return told


def photo(seed: int, side: int = 48) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def mask(side: int = 48) -> Image.Image:
    image = Image.new("L", (side, side))
    image.paste(255, (16, 16, 32, 32))
    return image


def triplet(root: Path, stem: str, seed: int, suffix: str = "png") -> list[Path]:
    paths = [root / part / f"{stem}.{suffix}" for part in PARTS]
    for path, image in zip(paths, (photo(seed), mask(), photo(seed + 5000)), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=95)
    return paths


def damaged_jpeg() -> bytes:
    written = BytesIO()
    photo(77, 256).save(written, "JPEG", quality=95)
    raw = written.getvalue()
    scan = raw.rfind(b"\xff\xda") + 14
    return raw[: scan + 1000] + bytes(2048) + raw[scan + 3048 :]


def mixed(root: Path) -> tuple[int, Counter, Counter]:
    """Over 200 files; the number of good triplets, and what is to be refused and ignored, by reason."""
    refused, ignored = Counter(), Counter()
    for number in range(30):
        triplet(root, f"png {number}", number)
    for number in range(10):
        triplet(root, f"jpg{number}", 100 + number, "jpg" if number % 2 else "JPEG")
    for number, stem in enumerate(("crème brûlée 木", "quote\" it's [red]", ".hidden")):
        triplet(root, stem, 200 + number)
    strays(root, ignored)
    faults(root, refused)
    links(root, refused, ignored)
    return 43, refused, ignored


def strays(root: Path, ignored: Counter) -> None:
    for number, suffix in enumerate((".webp", ".tif", ".gif", ".bmp", ".tiff", ".heic")):
        for part in PARTS:
            path = root / part / f"other{number}{suffix}"
            if suffix == ".heic":
                path.write_bytes(b"\0\0\0\x18ftypheic")
            else:
                photo(number).save(path)
            ignored["not named as JPEG or PNG"] += 1
    for number in range(4):
        for path in triplet(root, f"deep{number}", 300 + number):
            path.parent.joinpath("more").mkdir(exist_ok=True)
            path.rename(path.parent / "more" / path.name)
            ignored["not in a folder that is read"] += 1
    for name in ("README.md", "meta.json", "extra/a.png", ".git/config"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"words")
        ignored["not in a folder that is read"] += 1
    for name in (".DS_Store", "Thumbs.db", "list.txt"):
        (root / "source" / name).write_bytes(b"words")
        ignored["not named as JPEG or PNG"] += 1


def faults(root: Path, refused: Counter) -> None:
    for number, part in enumerate(PARTS):
        mask().save(root / part / f"orphan{number}.png")
        refused["file is missing"] += 1
    triplet(root, "cut", 400)[0].write_bytes((root / "source/png 0.png").read_bytes()[:900])
    flipped = triplet(root, "flipped", 401)[0]
    raw = bytearray(flipped.read_bytes())
    raw[len(raw) // 2] ^= 1
    flipped.write_bytes(raw)
    refused["truncated image"] += 2
    triplet(root, "damaged", 402, "jpg")[0].write_bytes(damaged_jpeg())
    refused["damaged image"] += 1
    triplet(root, "no image", 403)[0].write_bytes(b"<html>")
    refused["unreadable image"] += 1
    triplet(root, "twice", 404)
    photo(404).save(root / "source/twice.jpg")
    triplet(root, "a copy", 3)
    refused["already in the dataset"] += 1
    for path in triplet(root, "latin", 405):
        os.rename(path, os.fsencode(path.parent) + b"/caf\xe9.png")
    refused["record cannot be parsed"] += 2  # twice, and the name that is no UTF-8


def links(root: Path, refused: Counter, ignored: Counter) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    photo(500).save(outside / "secret.png")
    for stem, target in (
        ("leads out", outside / "secret.png"),
        ("leads nowhere", root / "none.png"),
        ("leads to zeros", Path("/dev/zero")),
        ("leads round", root / "source/leads round.png"),
    ):
        path = triplet(root, stem, 501)[0]
        path.unlink()
        path.symlink_to(target)
    refused["path leads outside its folder"] += 2
    refused["file is missing"] += 1  # nowhere
    refused["record cannot be parsed"] += 1  # round
    (root / "source/folder").symlink_to(outside)
    ignored["link to a folder, not followed"] += 1
    (root / "source/zeros").symlink_to("/dev/zero")
    (root / "source/gone").symlink_to("/none")
    ignored["not named as JPEG or PNG"] += 2
    for name in ("source/.p", "mask/pipe.dat", "pipe"):
        os.mkfifo(root / name)
        ignored["pipe, socket or device"] += 1
    pipe = triplet(root, "pipe", 502)[0]
    pipe.unlink()
    os.mkfifo(pipe)
    refused["file is missing"] += 1
    here = os.getcwd()
    os.chdir(root / "mask")  # a socket's path may have 108 bytes
    try:
        socket.socket(socket.AF_UNIX).bind("socket")
    finally:
        os.chdir(here)
    ignored["pipe, socket or device"] += 1
    (root / "mask/empty").mkdir()


def test_the_sum_holds_for_a_folder_of_two_hundred_mixed_files(tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    good, refused, ignored = mixed(root)
    assert sum(len(files) for _, _, files in os.walk(root)) >= 200
    told = ingest(tmp_path, "folder", str(root), "--shard-samples", "7")
    assert told["rejects"] == dict(refused)
    assert told["ignored_by"] == dict(ignored)
    assert told["kept"] == good
    again = ingest(tmp_path, "folder", str(root), "--shard-samples", "7")
    assert {**again, "added": 0, "version": 0} == {**told, "added": 0, "version": 0}
    one_line = CliRunner().invoke(
        app, ["ingest", "folder", str(root), "--size-px", "32", "--workspace", str(tmp_path / "workspace")]
    )
    assert one_line.exit_code == 0, one_line.output
    # Another number of samples a shard is other work, whose samples are all there.
    assert f"= 0 kept + {good + refused.total()} refused + {ignored.total()} ignored." in one_line.output


def pool(root: Path, rows: list[str], images: int = 6) -> None:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(images):
        photo(number).save(root / f"images/i{number}.jpg", quality=95)
        mask().save(root / f"masks/m{number}.png")
    lines = ["MaskPath,ImageID,LabelName,Note", *rows]
    (root / "train-annotations-object-segmentation.csv").write_bytes(b"\n".join(map(os.fsencode, lines)))
    (root / "oidv7-class-descriptions-boxable.csv").write_text("/m/1,Dog\n/m/2,Hat\n")


def test_a_pools_rows_are_counted_and_a_stray_quote_spoils_its_own_only(tmp_path: Path) -> None:
    rows = [
        "m0.png,i0,/m/1,fine",
        '"m1.png,i1,/m/1,stray',
        "m2.png,i2,/m/1,fine",
        'm3.png,i3,/m/1,"a field of',
        'two lines"',
        'm4.png,i4,/m/1,"quoted, and fine"',
        "",
        "m5.png,i5,/m/2,a hat",
        "m9.png,i0,/m/1,no mask",
        f"{'m' * 300}.png,i0,/m/1,long name",
        os.fsdecode(b"caf\xe9.png,i0,/m/1,latin"),
        "m0.png,i0,/m/404,unknown class",
        "",
    ]
    pool(tmp_path / "pool", rows)
    mask().save(tmp_path / "pool/masks/orphan.png")
    os.mkfifo(tmp_path / "pool/images/i7.jpg")
    (tmp_path / "pool/images.zip").write_bytes(b"PK")
    told = ingest(tmp_path, "pool", str(tmp_path / "pool"))
    assert told["kept"] == 3  # 0, 2 and 4
    assert told["rejects"] == {
        "record cannot be parsed": 5,  # the stray quote, both halves of the field of two lines, latin, 404
        "file is missing": 2,
        "class is excluded": 1,
    }
    # i1, m1, i3 and m3 are named by no row that can be read; i7 is a pipe named as an image.
    assert told["ignored_by"] == {"no record names it": 7, "empty line": 1}


def test_a_class_file_of_another_name_is_found_when_it_is_named(tmp_path: Path) -> None:
    pool(tmp_path / "pool", ["m0.png,i0,/m/1,"])
    (tmp_path / "pool/oidv7-class-descriptions-boxable.csv").rename(tmp_path / "pool/names.csv")
    told = ingest(tmp_path, "pool", str(tmp_path / "pool"), "--classes-csv", "names.csv")
    assert told["kept"] == 1


def test_linked_data_folders_are_read_and_their_own_links_are_not(tmp_path: Path) -> None:
    real, root, disk = tmp_path / "real", tmp_path / "here", tmp_path / "disk"
    pool(real, [f"m{number}.png,i{number},/m/1," for number in range(6)])
    photo(9).save(tmp_path / "secret.jpg")
    (real / "images/i5.jpg").unlink()
    (real / "images/i5.jpg").symlink_to(tmp_path / "secret.jpg")
    disk.mkdir()
    for part in ("images", "masks"):
        (real / part).rename(disk / part)
        (real / part).symlink_to(disk / part)
    root.symlink_to(real)
    told = ingest(tmp_path, "pool", str(root))
    assert (told["kept"], told["rejects"]) == (5, {"path leads outside its folder": 1})
    assert told["ignored"] == 0
    for number in range(3):
        triplet(tmp_path / "pairs", f"p{number}", 50 + number)
    (tmp_path / "pairs/source").rename(disk / "source")
    (tmp_path / "pairs/source").symlink_to(disk / "source")
    (disk / "source/p2.png").unlink()
    (disk / "source/p2.png").symlink_to(tmp_path / "secret.jpg")
    told = ingest(tmp_path, "folder", str(tmp_path / "pairs"))
    assert (told["kept"], told["rejects"]) == (2, {"path leads outside its folder": 1})


def test_a_meta_jsons_records_are_counted_and_a_bad_name_spoils_its_own_only(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(3):
        triplet(root, f"p{number}", number)
    (root / "ground_truth").rename(root / "GT")
    os.mkfifo(root / "source/pipe.png")
    (root / "source/round.png").symlink_to("round.png")
    (root / "notes.txt").write_text("words")
    good = [{"source": f"source/p{n}.png", "mask": f"mask/p{n}.png", "GT": f"GT/p{n}.png"} for n in range(2)]
    bad = [
        {"source": "source/" + "x" * 300 + ".png"},
        {"source": "source/\ud800.png"},
        {"scene": "\udfff"},
        {"source": "source/round.png"},
        {"source": "source/pipe.png"},
        {"source": "a\0b"},
        {"scene": "HUGE"},
    ]
    text = json.dumps([good[0], *(good[0] | change for change in bad), good[1]])
    (root / "meta.json").write_text(text.replace('"HUGE"', "9" * 5000))
    told = ingest(tmp_path, "meta-json", str(root / "meta.json"))
    assert told["kept"] == 2
    assert told["rejects"] == {"record cannot be parsed": 5, "file is missing": 2}
    # Of p2 three files, and the notes.
    assert told["ignored_by"] == {"no record names it": 4}


def test_photographs_and_the_objects_beside_them_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for folder in ("images/old", "objects/source", "objects/mask"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        photo(number, 64).save(root / f"images/a{number}.png")
    for number in range(40):  # enough for each split
        photo(80 + number).save(root / f"objects/source/o{number}.png")
        mask().save(root / f"objects/mask/o{number}.png")
    mask().save(root / "objects/mask/lonely.png")
    photo(5).save(root / "images/a.webp")
    photo(6).save(root / "images/old/b.png")
    (root / "images/broken.jpg").write_bytes(b"\xff\xd8\xff")
    told = ingest(tmp_path, "high-resolution", str(root))
    assert told["kept"] == 4
    assert told["rejects"] == {"unreadable image": 1}
    assert told["ignored_by"] == {
        "object to paste, no sample of its own": 80,
        "object without its image or its mask": 1,
        "not named as JPEG or PNG": 1,
        "not in a folder that is read": 1,
    }


def test_shots_and_a_clips_pairs_are_counted(tmp_path: Path) -> None:
    assert ingest(tmp_path, "synthetic", "--count", "3")["found"] == 3
    assert ingest(tmp_path, "clip", "--frame-step", "60", "--crop-min-px", "64")["kept"] > 0


def test_a_folder_that_changes_while_it_is_read_is_told(tmp_path: Path, monkeypatch) -> None:
    from tasks.sources import count_files

    for number in range(2):
        triplet(tmp_path / "pairs", f"p{number}", number)
    listed = count_files.files_of_stems

    def then_one_more(root: Path, parts):
        yield from list(listed(root, parts))
        triplet(tmp_path / "pairs", "late", 9)

    monkeypatch.setattr(count_files, "files_of_stems", then_one_more)
    result = CliRunner().invoke(
        app,
        ["ingest", "folder", str(tmp_path / "pairs"), "--size-px", "32", "--workspace", str(tmp_path / "w")],
    )
    assert result.exit_code == 1
    assert "changed while it was read" in " ".join(result.output.split())
