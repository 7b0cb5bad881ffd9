"""verify finds each kind of fault, in files that are really damaged."""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from data_specs.errors import ShardError
from data_specs.shard import EncodedSample, ShardRef
from tasks.storage.atomic_files import aside_path
from tasks.storage.dataset import create_version, verify_dataset
from tasks.storage.dataset.versions import manifest_bytes, parse_samples, samples_bytes
from tasks.storage.shards import ShardReader, write_shard
from tasks.storage.workspace import Workspace


def write(workspace: Workspace, index: int, keys: list[str]) -> ShardRef:
    return write_shard(
        workspace,
        stage="triplets",
        round=0,
        index=index,
        input_digest=f"work {index}",
        samples=[EncodedSample(key, {"json": b"{}", "mask.png": b"m" * 99}, "s", "train") for key in keys],
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two shards and a version of both."""
    workspace = Workspace.open(tmp_path / "workspace")
    refs = [write(workspace, 0, ["a", "b"]), write(workspace, 1, ["c"])]
    create_version(workspace, [(ref, None) for ref in refs], None, "first")
    return workspace


def one(workspace: Workspace, pattern: str) -> Path:
    return next(iter(sorted(workspace.root.glob(pattern))))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def run_sql(workspace: Workspace, statement: str) -> None:
    with sqlite3.connect(workspace.root / "ledger.sqlite") as connection:
        connection.execute(statement)
    connection.close()


def test_a_sound_dataset_is_clean(workspace: Workspace) -> None:
    told: list[tuple[int, int]] = []
    report = verify_dataset(workspace, lambda done, total: told.append((done, total)))
    assert report.clean
    assert (report.shards, report.samples, report.versions) == (2, 3, 1)
    sizes = [path.stat().st_size for path in sorted(workspace.shards_dir.glob("*.tar"))]
    assert report.bytes_read == sum(sizes)
    assert told == [(sizes[0], sum(sizes)), (sum(sizes), sum(sizes))]


def put_in_place(workspace: Workspace, kind: str, pattern: str) -> None:
    """A folder, a pipe without a writer, or a link to a device that never ends."""
    path = one(workspace, pattern)
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


DAMAGE: list[tuple[str, str, str, Callable[[Workspace], object]]] = [
    ("missing", "-00000-", "lists it", lambda w: one(w, "shards/*-00000-*.tar").unlink()),
    ("missing", "-00001-", "lists it", lambda w: one(w, "shards/*-00001-*.parquet").unlink()),
    ("missing", "versions/000001.json", "lists it", lambda w: one(w, "versions/*.json").unlink()),
    ("missing", "versions/samples-", "part of version 1", lambda w: one(w, "versions/*.parquet").unlink()),
    ("missing", "-00001-", "lacks 1", lambda w: run_sql(w, "DELETE FROM samples WHERE key = 'c'")),
    (
        "missing",
        "-00001-",
        "does not list it",
        lambda w: (
            run_sql(w, "DELETE FROM samples WHERE key = 'c'"),
            run_sql(w, 'DELETE FROM shards WHERE "index" = 1'),
        ),
    ),
    ("altered", "-00000-", "damaged: a.mask.png", lambda w: flip(one(w, "shards/*-00000-*.tar"), 1_540)),
    ("altered", "-00000-", "sha256", lambda w: flip(one(w, "shards/*-00000-*.tar"), -1)),
    (
        "altered",
        "-00000-",
        "bytes, not",
        lambda w: one(w, "shards/*-00000-*.tar").write_bytes(
            one(w, "shards/*-00000-*.tar").read_bytes()[:2_048]
        ),
    ),
    ("altered", "-00001-", "sha256", lambda w: flip(one(w, "shards/*-00001-*.parquet"), 40)),
    ("altered", "versions/000001.json", "from the ledger", lambda w: flip(one(w, "versions/*.json"), 30)),
    ("altered", "versions/samples-", "version 1", lambda w: flip(one(w, "versions/*.parquet"), -20)),
    (
        "altered",
        "-00001-",
        "differ from",
        lambda w: run_sql(w, "UPDATE samples SET split='test' WHERE key='c'"),
    ),
    *(
        ("altered", what, "is not a file", partial(put_in_place, kind=kind, pattern=pattern))
        for kind in ("folder", "pipe", "device")
        for what, pattern in (
            ("-00000-", "shards/*-00000-*.tar"),
            ("-00001-", "shards/*-00001-*.parquet"),
            ("versions/000001.json", "versions/*.json"),
            ("versions/samples-", "versions/*.parquet"),
        )
    ),
    ("doubled", "b", "hold it", lambda w: write(w, 2, ["b", "d"])),
    ("orphaned", "shards/notes.txt", "does not list", lambda w: (w.shards_dir / "notes.txt").write_text("?")),
    (
        "orphaned",
        "versions/000009.json",
        "does not list",
        lambda w: (w.versions_dir / "000009.json").write_text("{}"),
    ),
]


@pytest.mark.parametrize(("kind", "what", "detail", "damage"), DAMAGE)
def test_each_kind_of_damage_is_found(
    workspace: Workspace, kind: str, what: str, detail: str, damage: Callable[[Workspace], object]
) -> None:
    damage(workspace)
    faults = verify_dataset(workspace).faults
    assert any(each.kind == kind and what in each.what and detail in each.detail for each in faults), faults


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize("pattern", ["shards/*.tar", "shards/*.parquet"])
def test_who_reads_a_shard_is_told_that_it_is_no_file(workspace: Workspace, pattern: str, kind: str) -> None:
    put_in_place(workspace, kind, pattern)
    ref = workspace.ledger().shards.all()[0]
    with pytest.raises(ShardError, match=f"shard {ref.name} (is missing|cannot be read .is not a file.)"):
        ShardReader(workspace, [ref])
    if kind == "folder":
        with pytest.raises(ShardError, match="a folder has the name of a shard's file; move it away"):
            write(workspace, 0, ["a", "b"])
        one(workspace, pattern).rmdir()
    write(workspace, 0, ["a", "b"])
    assert verify_dataset(workspace).clean


@pytest.mark.parametrize(
    "pattern", ["shards/*.tar", "shards/*.parquet", "versions/*.parquet", "versions/*.json"]
)
def test_no_byte_can_change_unseen(workspace: Workspace, pattern: str) -> None:
    path = one(workspace, pattern)
    sound = path.read_bytes()
    for position in range(0, len(sound), max(1, len(sound) // 25)):
        flip(path, position)
        faults = verify_dataset(workspace).faults
        assert [each.kind for each in faults] == ["altered"], (position, faults)
        path.write_bytes(sound)
    assert verify_dataset(workspace).clean


def test_a_key_in_two_shards_of_one_version_is_doubled(workspace: Workspace) -> None:
    ledger = workspace.ledger()
    version = ledger.versions.all()[0]
    samples = parse_samples((workspace.versions_dir / version.parquet).read_bytes())
    data = samples_bytes([*samples, samples[0]])
    forged = version.model_copy(
        update={"number": 2, "parquet": "samples-forged.parquet", "sha256": hashlib.sha256(data).hexdigest()}
    )
    (workspace.versions_dir / forged.parquet).write_bytes(data)
    (workspace.versions_dir / "000002.json").write_bytes(manifest_bytes(forged))
    ledger.versions.record(forged)
    faults = verify_dataset(workspace).faults
    assert [(each.kind, each.what) for each in faults] == [("doubled", "a")]


def test_what_the_living_write_aside_is_no_orphan(workspace: Workspace) -> None:
    aside = aside_path(workspace.shards_dir / "000-pool-00000")
    aside.write_bytes(b"half a shard")
    assert verify_dataset(workspace).clean


def rename_member(tar: Path, old: str, new: str) -> None:
    """Gives one member's header another name of the same length, with its checksum."""
    data = bytearray(tar.read_bytes())
    start = data.index(old.encode().ljust(100, b"\0"))
    data[start : start + len(new)] = new.encode()
    data[start + 148 : start + 156] = b" " * 8
    total = sum(data[start : start + 512])
    data[start + 148 : start + 156] = f"{total:06o}\0 ".encode()
    tar.write_bytes(data)


def test_a_sample_that_webdataset_reads_under_another_key_is_a_fault(workspace: Workspace) -> None:
    tar = one(workspace, "shards/*-00000-*.tar")
    members = [member for member in ShardReader(workspace, workspace.ledger().shards.all())[1].members]
    for member in members:
        rename_member(tar, f"b.{member}", f"z.{member}")
    sha256 = hashlib.sha256(tar.read_bytes()).hexdigest()
    run_sql(workspace, f"UPDATE shards SET sha256 = '{sha256}' WHERE \"index\" = 0")
    report = verify_dataset(workspace)
    assert [(fault.kind, fault.what) for fault in report.faults if "webdataset" in fault.detail] == [
        ("altered", f"shards/{tar.name}")
    ]
