"""Verifying a shard against tarfile, sha256sum and another process's memory."""

import json
import random
import subprocess
import sys
import tarfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from data_specs.shard import EncodedSample, ShardRef
from tasks.storage.dataset import verify_dataset
from tasks.storage.dataset.verify_shard import TarWalk, check_shard
from tasks.storage.shards import write_shard
from tasks.storage.shards.tar import IndexRow, index_bytes, read_index
from tasks.storage.workspace import Workspace


def write(workspace: Workspace, samples: int = 9, size: int = 3_000) -> ShardRef:
    """A shard whose samples share a member in threes, as the candidates of an item do."""
    noise = np.random.default_rng(0)
    shared = [noise.bytes(size) for _ in range(samples)]
    return write_shard(
        workspace,
        stage="candidates",
        round=0,
        index=0,
        input_digest="work",
        samples=(
            EncodedSample(
                f"k{number}",
                {"source.png": shared[number // 3], "removal.png": noise.bytes(size + number), "json": b"{}"},
                "s",
                "train",
                item=f"item {number // 3}",
            )
            for number in range(samples)
        ),
        purpose="human",
    )


@pytest.mark.parametrize("block", [1, 511, 512, 700, 10**6])
def test_the_walk_reads_what_tarfile_reads_in_blocks_of_any_size(tmp_path: Path, block: int) -> None:
    workspace = Workspace.open(tmp_path)
    path = workspace.shards_dir / f"{write(workspace).name}.tar"
    data, walk = path.read_bytes(), TarWalk()
    for start in range(0, len(data), block):
        walk.feed(data[start : start + block])
    with tarfile.open(path) as tar:
        members = {member.name: member for member in tar}
    held = [members[member.linkname] if member.islnk() else member for member in members.values()]
    assert [m.name for m in walk.members] == list(members)
    assert [m.is_link for m in walk.members] == [member.islnk() for member in members.values()]
    assert [(m.offset, m.length) for m in walk.members] == [(m.offset_data, m.size) for m in held]
    assert (walk.size_bytes, walk.is_broken) == (len(data), False)
    assert walk.keys_by_webdataset() == [f"k{number}" for number in range(9)]


def test_a_damaged_shared_member_damages_every_candidate_that_has_it(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    ref = write(workspace)
    path = workspace.shards_dir / f"{ref.name}.tar"
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        data[tar.getmember("k3.source.png").offset_data + 1_500] ^= 1
    path.write_bytes(data)
    faults, _ = check_shard(workspace, ref, workspace.ledger().shards.samples_of(ref.name))
    assert [fault.kind for fault in faults] == ["altered"]
    assert "damaged: k3.source.png, k4.source.png, k5.source.png" in faults[0].detail


def test_any_flipped_byte_and_any_lost_tail_is_a_fault(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    ref = write(workspace)
    path = workspace.shards_dir / f"{ref.name}.tar"
    sound, rows = path.read_bytes(), workspace.ledger().shards.samples_of(ref.name)
    draw = random.Random(1)
    for _ in range(60):
        position = draw.randrange(len(sound))
        damaged = bytearray(sound)
        damaged[position] ^= 1 << draw.randrange(8)
        for data in (bytes(damaged), sound[:position]):
            path.write_bytes(data)
            faults, read = check_shard(workspace, ref, rows)
            assert [fault.kind for fault in faults] == ["altered"], position
            assert read == len(data)
    path.write_bytes(sound)
    assert check_shard(workspace, ref, rows) == ([], len(sound))


def test_an_index_that_lists_other_places_than_the_tar_is_a_fault(tmp_path: Path) -> None:
    """Its digest is the ledger's: only the tar's own headers tell."""
    workspace = Workspace.open(tmp_path)
    ref = write(workspace)
    path = workspace.shards_dir / f"{ref.name}.parquet"
    rows = [IndexRow(**row) for row in read_index(path, ref).to_pylist()]
    forged = index_bytes([replace(rows[0], offset=rows[0].offset + 1), *rows[1:]])
    path.write_bytes(forged)
    forged_ref = ref.model_copy(update={"index_sha256": sha256(forged).hexdigest()})
    faults, _ = check_shard(workspace, forged_ref, workspace.ledger().shards.samples_of(ref.name))
    assert [(fault.kind, fault.what) for fault in faults] == [("altered", f"shards/{path.name}")]
    assert "differs from the tar in k0.json" in faults[0].detail


MEASURE = """
import json, resource, sys
from tasks.storage.dataset import verify_dataset
from tasks.storage.workspace import Workspace
from pathlib import Path
workspace = Workspace(Path(sys.argv[1]))
workspace.ledger()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = verify_dataset(workspace)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([report.clean, report.bytes_read, (after - before) * 1024]))
"""


def test_a_large_tar_is_never_in_memory_whole(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    ref = write(workspace, samples=60, size=2_500_000)
    assert ref.size_bytes > 150_000_000
    command = [sys.executable, "-c", MEASURE, str(workspace.root)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    clean, size_bytes, memory = json.loads(answer)
    assert clean
    assert size_bytes == ref.size_bytes
    assert memory < 60_000_000
    assert verify_dataset(workspace).clean
