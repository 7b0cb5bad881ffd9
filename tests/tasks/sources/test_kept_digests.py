"""A file is hashed again if it changed, and only then."""

import hashlib
import os
import time
from pathlib import Path

from tasks.sources.kept_digests import kept_digests
from tasks.sources.readers import FolderSource
from tasks.sources.source_files import files_digest


def digest_of(path: Path, folder: Path) -> tuple[int, str]:
    with kept_digests(folder) as kept:
        return kept.sha256(path)


def test_a_changed_file_has_a_new_digest_even_with_its_old_size_and_time(tmp_path: Path) -> None:
    path, kept = tmp_path / "image.png", tmp_path / "reading"
    path.write_bytes(b"first")
    time.sleep(0.2)
    before = path.stat()
    assert digest_of(path, kept) == (5, hashlib.sha256(b"first").hexdigest())
    path.write_bytes(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest_of(path, kept) == (5, hashlib.sha256(b"other").hexdigest())


def test_a_second_start_reads_no_byte_of_an_unchanged_file(tmp_path: Path, monkeypatch) -> None:
    for part in ("source", "mask", "ground_truth"):
        (tmp_path / "pairs" / part).mkdir(parents=True)
        (tmp_path / "pairs" / part / "a.png").write_bytes(part.encode())
    time.sleep(0.2)
    source = FolderSource(path=tmp_path / "pairs")
    first = files_digest(source, tmp_path / "reading")
    assert first == files_digest(source), "the digest is the same without a folder"

    def no_reading(*_: object) -> None:
        raise AssertionError("a byte is read again")

    monkeypatch.setattr(hashlib, "file_digest", no_reading)
    assert files_digest(source, tmp_path / "reading") == first


def test_a_file_that_has_just_changed_is_not_kept(tmp_path: Path) -> None:
    path, kept = tmp_path / "image.png", tmp_path / "reading"
    for content in (b"a", b"b", b"c"):
        path.write_bytes(content)
        assert digest_of(path, kept) == (1, hashlib.sha256(content).hexdigest())
