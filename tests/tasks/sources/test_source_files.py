"""The digest of a source's files."""

import json
import os
from pathlib import Path

import pytest

from data_specs.errors import InputError
from tasks.sources.openimages_pool import PoolConfig
from tasks.sources.source_files import files_digest
from tasks.sources.triplet_files import FolderConfig, MetaJsonConfig


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_names_and_contents_count_for_a_folder(tmp_path: Path) -> None:
    config = FolderConfig(path=tmp_path)
    write(tmp_path / "source/a.png", b"1")
    first = files_digest(config)
    write(tmp_path / "notes.txt", b"of no account")
    assert files_digest(config) == first
    write(tmp_path / "source/a.png", b"2")
    second = files_digest(config)
    (tmp_path / "source/a.png").rename(tmp_path / "source/b.png")
    assert len({first, second, files_digest(config)}) == 3


def test_a_meta_json_counts_with_what_it_names_inside_its_folder(tmp_path: Path) -> None:
    root, config = tmp_path / "data", MetaJsonConfig(path=tmp_path / "data/meta.json")
    write(tmp_path / "outside.png", b"1")
    write(root / "s/a.png", b"1")
    write(root / "unnamed.png", b"1")
    records = [{"source": "s/a.png", "mask": "../outside.png", "GT": "none.png"}, 7, {"source": 3}]
    write(root / "meta.json", json.dumps(records).encode())
    first = files_digest(config)
    write(tmp_path / "outside.png", b"2")
    write(root / "unnamed.png", b"2")
    assert files_digest(config) == first
    write(root / "s/a.png", b"2")
    second = files_digest(config)
    write(root / "meta.json", b"[]")
    assert len({first, second, files_digest(config)}) == 3


def test_a_pool_counts_with_its_images_masks_and_tables(tmp_path: Path) -> None:
    config = PoolConfig(path=tmp_path)
    names = ("images/a.jpg", "masks/0/a.png", config.segmentation_csv, config.classes_csv)
    digests = set()
    for name in names:
        write(tmp_path / name, b"1")
        digests.add(files_digest(config))
    assert len(digests) == 4


def test_a_source_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        files_digest(FolderConfig(path=tmp_path / "none"))


def test_an_ordinary_folders_digest_is_what_it_was_and_pipes_change_nothing(
    tmp_path: Path,
) -> None:
    root = tmp_path / "pairs"
    for part in ("source", "mask", "ground_truth"):
        write(root / part / "a.png", part.encode())
        write(root / part / "é.jpg", b"2")
    write(root / "source/Thumbs.db", b"3")
    assert files_digest(FolderConfig(path=root)) == "debf0f3167d408d7b2f1"
    os.mkfifo(root / "source/.pipe")
    (root / "source/zeros").symlink_to("/dev/zero")
    assert files_digest(FolderConfig(path=root)) == "debf0f3167d408d7b2f1"
