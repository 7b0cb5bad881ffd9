"""Verifying a shard against tarfile, sha256sum and another process's memory."""

import io
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
from tasks.storage.dataset.verify_shard import TarLayout, check_shard
from tasks.storage.shards import write_shard
from tasks.storage.shards.tar import IndexRow, index_bytes, parse_index
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


@pytest.mark.parametrize("block", [512, 1_024, 5_120, 2**20])
def test_headers_are_where_tarfile_finds_them_in_blocks_of_any_size(tmp_path: Path, block: int) -> None:
    workspace = Workspace.open(tmp_path)
    ref = write(workspace)
    path = workspace.shards_dir / f"{ref.name}.tar"
    layout = TarLayout(parse_index(path.with_suffix(".parquet").read_bytes()))
    data, headers = path.read_bytes(), list[bytes]()
    for start in range(0, len(data), block):
        headers += layout.headers_in(data[start : start + block], start)
    with tarfile.open(path) as tar:
        members = list(tar)
    assert layout.names == [member.name for member in members]
    assert headers == [data[member.offset : member.offset + 257] for member in members]
    assert layout.faults(headers, "tar", "index") == []
    assert layout.size_bytes == len(data)
    assert {member.type for member in members} == {tarfile.REGTYPE, tarfile.LNKTYPE}


def test_a_tar_with_a_member_that_the_index_lacks_is_a_fault(tmp_path: Path) -> None:
    """The ledger has the digest of that tar: only the layout tells."""
    workspace = Workspace.open(tmp_path)
    ref = write(workspace)
    path = workspace.shards_dir / f"{ref.name}.tar"
    with tarfile.open(path, "a", format=tarfile.USTAR_FORMAT) as tar:
        more = tarfile.TarInfo("k9.json")
        more.size = 10_240
        tar.addfile(more, io.BytesIO(bytes(more.size)))
    data = path.read_bytes()
    forged = ref.model_copy(update={"sha256": sha256(data).hexdigest(), "size_bytes": len(data)})
    faults, _ = check_shard(workspace, forged, workspace.ledger().shards.samples_of(ref.name))
    assert [fault.detail for fault in faults] == ["it lists other members than the tar holds"]


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
    rows = [IndexRow(**row) for row in parse_index(path.read_bytes()).to_pylist()]
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
