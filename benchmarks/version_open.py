"""Measure how a training opens a large dataset version: seconds, memory, and the order of its first batch.

Limits: 2 s of processor time and 100 MB a process for 200,000 samples. ``ratio`` is the worse of the two,
divided by its limit. The indexes are real, the tars are empty files of the right size.

Run: python -m benchmarks.version_open [--samples 200000] [--json]
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.keys import derive_key
from data_specs.shard import SampleRow, ShardRef
from tasks.storage.dataset import create_version
from tasks.storage.shards.tar import IndexRow, index_bytes
from tasks.storage.shards.writer import index_path, tar_path
from tasks.storage.workspace import Workspace

CPU_LIMIT_S, MEMORY_LIMIT_MB = 2.0, 100.0
SHARD_SAMPLES, SAMPLE_BYTES = 500, 240_000
MEMBERS = ("ground_truth.jpg", "json", "mask.png", "source.jpg")

OPEN = """
import json, resource, sys, time
from tasks.storage.workspace import Workspace
from tasks.training.data import triplet_batches
from tasks.training.version_data import training_triplets, version_reader
from models.training.samplers import MixedBatches

def used_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

workspace = Workspace(__import__("pathlib").Path(sys.argv[1]))
workspace.ledger()
before, began = used_mb(), time.process_time()
with version_reader(workspace, 1) as data:
    triplets, groups = training_triplets(data)
    seconds = time.process_time() - began
    order = MixedBatches(groups, 128, 0, 0, 1)
    first = next(iter(order))
    figures = {"seconds": seconds, "mb": used_mb() - before, "samples": len(triplets), "batch": len(first)}
    print(json.dumps(figures))
"""


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".version_open-") as folder:
        workspace = Workspace.open(folder)
        refs = [make_shard(workspace, index) for index in range(arguments.samples // SHARD_SAMPLES)]
        create_version(workspace, [(ref, None) for ref in refs], None, "all")
        runs = [opened(workspace) for _ in range(arguments.runs)]
    seconds = sorted(run["seconds"] for run in runs)[len(runs) // 2]
    memory_mb = max(run["mb"] for run in runs)
    scale = arguments.samples / 200_000
    figures = {
        "ratio": max(seconds / CPU_LIMIT_S, memory_mb / MEMORY_LIMIT_MB) / scale,
        "samples": runs[0]["samples"],
        "cpu_s": seconds,
        "memory_mb": memory_mb,
        "runs": runs,
        "machine": machine(),
    }
    if arguments.as_json:
        print(json.dumps(figures, indent=2))
    else:
        Console().print(figures)


def opened(workspace: Workspace) -> dict[str, Any]:
    """What a new process needs to open version 1."""
    command = [sys.executable, "-c", OPEN, str(workspace.root)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def make_shard(workspace: Workspace, index: int) -> ShardRef:
    """A shard of triplets of 512 px with a real index. Its tar is a hole."""
    keys = [derive_key("version_open", index, number) for number in range(SHARD_SAMPLES)]
    part = SAMPLE_BYTES // len(MEMBERS)
    rows = [
        IndexRow(
            key=key,
            member=member,
            offset=number * SAMPLE_BYTES + place * part,
            length=part,
            sha256=hashlib.sha256(f"{key} {member}".encode()).hexdigest(),
            scene=derive_key("scene", key),
            split="train",
            height=512,
            width=512,
        )
        for number, key in enumerate(keys)
        for place, member in enumerate(MEMBERS)
    ]
    data = index_bytes(rows)
    ref = ShardRef(
        name=f"000-triplets-{index:05d}-{derive_key('shard', *keys)}",
        stage="triplets",
        round=0,
        index=index,
        samples=SHARD_SAMPLES,
        size_bytes=SHARD_SAMPLES * SAMPLE_BYTES,
        sha256=derive_key("tar", index),
        index_sha256=hashlib.sha256(data).hexdigest(),
        input_digest=derive_key("work", index),
    )
    index_path(workspace, ref.name).write_bytes(data)
    with tar_path(workspace, ref.name).open("wb") as tar:
        tar.truncate(ref.size_bytes)
    samples = [
        SampleRow(key, rows[len(MEMBERS) * number].scene, "train", number) for number, key in enumerate(keys)
    ]
    return workspace.ledger().shards.commit(ref, samples)


if __name__ == "__main__":
    main()
