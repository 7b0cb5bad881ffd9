"""Shards as others read them: tarfile, webdataset, and our reader by offset."""

import hashlib
import io
import pickle
import random
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from data_specs.errors import ShardError
from data_specs.shard import EncodedSample, ShardRef
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import ShardReader, write_shard
from tasks.storage.shards import reader as read
from tasks.storage.workspace import Workspace


def samples(count: int = 6, seed: int = 0, prefix: str = "key") -> list[EncodedSample]:
    noise = np.random.default_rng(seed)
    return [
        EncodedSample(
            f"{prefix}-{number}",
            {
                "source.png": noise.bytes(700 + 37 * number),
                "mask.png": noise.bytes(512),
                "json": b"{}",
            },
            f"scene-{number // 2}",
            "test" if number == 1 else "train",
        )
        for number in range(count)
    ]


def write(
    workspace: Workspace, contents: list[EncodedSample], index: int = 0, work: str = "work"
) -> ShardRef:
    return write_shard(
        workspace, stage="triplets", round=1, index=index, input_digest=work, samples=iter(contents)
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def tar_of(workspace: Workspace, ref: ShardRef) -> Path:
    return workspace.shards_dir / f"{ref.name}.tar"


def test_the_tar_is_plain_and_says_nothing_of_when_or_who(workspace: Workspace) -> None:
    ref = write(workspace, samples())
    data = tar_of(workspace, ref).read_bytes()
    assert (ref.size_bytes, ref.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
            (0, 0, 0, "", "", 0o644)
        }
        names = [member.name for member in members]
        assert names == [f"key-{n}.{e}" for n in range(6) for e in ("json", "mask.png", "source.png")]
        rows = pq.read_table(workspace.shards_dir / f"{ref.name}.parquet").to_pylist()
        assert [(row["offset"], row["length"]) for row in rows] == [(m.offset_data, m.size) for m in members]
    assert len(data) % 10_240 == 0


def test_the_same_work_gives_the_same_bytes_anywhere(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace.open(tmp_path / "other")
    assert write(workspace, samples()) == write(other, samples())
    for path in workspace.shards_dir.iterdir():
        assert path.read_bytes() == (other.shards_dir / path.name).read_bytes()


def test_webdataset_reads_the_same_samples(workspace: Workspace) -> None:
    ref = write(workspace, samples())
    seen = list(wds.WebDataset(str(tar_of(workspace, ref)), shardshuffle=False))  # pyright: ignore
    assert [each["__key__"] for each in seen] == [each.key for each in samples()]
    for theirs, ours in zip(seen, samples(), strict=True):
        assert {name: data for name, data in theirs.items() if not name.startswith("__")} == ours.members


def test_the_reader_gives_back_what_was_written(workspace: Workspace) -> None:
    refs = [write(workspace, samples()), write(workspace, samples(4, 1, "more"), 1, "work 2")]
    written = samples() + samples(4, 1, "more")
    reader = ShardReader(workspace, refs, check=True)
    assert reader.keys == [each.key for each in written]
    order = list(range(len(reader)))
    random.Random(3).shuffle(order)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(reader.__getitem__, order)) == [written[position] for position in order]
    assert reader[-1] == written[-1]
    assert pickle.loads(pickle.dumps(reader)).by_key("more-2") == written[8]
    with pytest.raises(IndexError):
        reader[10]
    with pytest.raises(ShardError, match="holds sample nobody"):
        reader.by_key("nobody")


def test_no_shard_holds_no_sample(workspace: Workspace) -> None:
    with ShardReader(workspace, [], check=True) as reader:
        assert (len(reader), reader.keys, reader.positions_in("train")) == (0, [], [])
        assert reader.positions_of([]).tolist() == []
        with pytest.raises(ShardError, match="none of these 0 shards holds sample nobody"):
            reader.by_key("nobody")


def test_positions_are_those_of_the_keys_and_of_the_split(workspace: Workspace) -> None:
    refs = [write(workspace, samples()), write(workspace, samples(4, 1, "more"), 1, "work 2")]
    with ShardReader(workspace, refs) as reader:
        keys = reader.keys
        order = [7, 0, 9, 3, 3]
        assert reader.positions_of([keys[place] for place in order]).tolist() == order
        assert reader.positions_in("test") == [1, 7]
        assert [reader[place].split for place in reader.positions_in("test")] == ["test", "test"]
        assert reader.member_at(8, "mask.png") == samples(4, 1, "more")[2].members["mask.png"]
        with pytest.raises(ShardError, match="holds sample key-9"):
            reader.positions_of(["key-1", "key-9"])


def test_more_shards_than_files_may_be_open(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "_OPEN_FILES", 1)
    refs = [write(workspace, samples(2, n, f"s{n}"), n, f"work {n}") for n in range(3)]
    reader = ShardReader(workspace, refs)
    assert [reader[position].key for position in (0, 2, 4, 3)] == ["s0-0", "s1-0", "s2-0", "s1-1"]
    assert len(reader._descriptors) == 1


def test_work_done_already_is_not_done_again(workspace: Workspace) -> None:
    ref = write(workspace, samples())

    def must_not_run() -> Iterator[EncodedSample]:
        raise AssertionError("the samples were made again")
        yield

    again = write_shard(
        workspace, stage="triplets", round=1, index=0, input_digest="work", samples=must_not_run()
    )
    assert again == ref


def test_lost_files_come_back_from_the_same_work_only(workspace: Workspace) -> None:
    ref = write(workspace, samples())
    before = tar_of(workspace, ref).read_bytes()
    tar_of(workspace, ref).write_bytes(before[:-512])
    with pytest.raises(ShardError, match="other bytes"):
        write(workspace, samples(seed=9))
    assert write(workspace, samples()) == ref
    assert tar_of(workspace, ref).read_bytes() == before


def test_the_same_bytes_under_another_index_are_the_same_shard(workspace: Workspace) -> None:
    """As in a phase that an older version began: it counted some shards from 1000."""
    before = write(workspace, samples(), index=1000, work="work of before")
    data = tar_of(workspace, before).read_bytes()
    assert write(workspace, samples()) == before
    tar_of(workspace, before).unlink()
    assert write(workspace, samples()) == before
    assert tar_of(workspace, before).read_bytes() == data, "a lost file comes back"
    assert verify_dataset(workspace).faults == []
    others = [EncodedSample(each.key, each.members, each.scene, "validation") for each in samples()]
    assert write(workspace, others, work="of another split").name != before.name
    elsewhere = write_shard(
        workspace, stage="triplets", round=2, index=0, input_digest="next", samples=iter(samples())
    )
    assert elsewhere.round == 2


def test_other_contents_never_replace_a_committed_shard(workspace: Workspace) -> None:
    ref = write(workspace, samples())
    before = tar_of(workspace, ref).read_bytes()
    with pytest.raises(ShardError, match="other contents"):
        write(workspace, samples(seed=9), work="newer code")
    assert write(workspace, samples(), work="newer code, same result") == ref
    assert tar_of(workspace, ref).read_bytes() == before
    assert sorted(path.suffix for path in workspace.shards_dir.iterdir()) == [".lock", ".parquet", ".tar"]


def test_a_shard_may_be_empty(workspace: Workspace) -> None:
    ref = write(workspace, [])
    assert ref.samples == 0
    assert len(ShardReader(workspace, [ref])) == 0


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "ä", "k" * 81])
def test_keys_that_webdataset_would_not_give_back(workspace: Workspace, key: str) -> None:
    with pytest.raises(ShardError, match="is not a valid key"):
        write(workspace, [EncodedSample(key, {"json": b"{}"}, "s", "train")])
    assert [path.name for path in workspace.shards_dir.iterdir()] == []


def test_a_key_twice_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ShardError, match="twice"):
        write(workspace, samples(2) + samples(1))
    assert workspace.ledger().shards.all() == []


def test_a_tar_cut_at_a_member_boundary_is_noticed(workspace: Workspace) -> None:
    ref = write(workspace, samples())
    path = tar_of(workspace, ref)
    with tarfile.open(path) as tar:
        boundary = tar.getmember("key-4.json").offset
    reader = ShardReader(workspace, [ref])
    path.write_bytes(path.read_bytes()[:boundary])
    assert len(list(wds.WebDataset(str(path), shardshuffle=False))) == 4  # pyright: ignore
    with pytest.raises(ShardError, match=ref.name):
        ShardReader(workspace, [ref])
    assert reader[3] == samples()[3]
    with pytest.raises(ShardError, match=f"{ref.name} is truncated"):
        reader[5]


def test_altered_bytes_are_noticed_where_they_are_checked(workspace: Workspace) -> None:
    ref = write(workspace, samples())
    path = tar_of(workspace, ref)
    data = bytearray(path.read_bytes())
    position = data.index(samples()[2].members["mask.png"])
    data[position] ^= 1
    path.write_bytes(data)
    assert ShardReader(workspace, [ref])[2] != samples()[2]
    with pytest.raises(ShardError, match=f"{ref.name} is altered in a mask.png"):
        ShardReader(workspace, [ref], check=True)[2]


def test_a_missing_tar_or_altered_index_is_named(workspace: Workspace) -> None:
    ref = write(workspace, samples())
    index = workspace.shards_dir / f"{ref.name}.parquet"
    good = index.read_bytes()
    index.write_bytes(good[:20] + bytes([good[20] ^ 1]) + good[21:])
    with pytest.raises(ShardError, match=f"index of shard {ref.name} is altered"):
        ShardReader(workspace, [ref])
    index.unlink()
    with pytest.raises(ShardError, match=f"index of shard {ref.name} cannot be read"):
        ShardReader(workspace, [ref])
    tar_of(workspace, ref).unlink()
    with pytest.raises(ShardError, match=f"shard {ref.name} is missing"):
        ShardReader(workspace, [ref])
