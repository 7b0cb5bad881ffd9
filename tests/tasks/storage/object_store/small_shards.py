"""Small shards that are the same on every machine; imports little, since writers are started many times."""

import sys
from collections.abc import Iterator

import numpy as np

from data_specs.shard import EncodedSample, ShardRef
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace

SHARDS = 8


def samples(index: int, seed: int = 0, size_bytes: int = 20_000) -> Iterator[EncodedSample]:
    noise = np.random.default_rng((index, seed))
    for number in range(4):
        members = {"source.png": noise.bytes(size_bytes), "json": b"{}"}
        yield EncodedSample(f"sample-{index}-{number}", members, f"scene-{index}", "train")


def shard(workspace: Workspace, index: int, seed: int = 0, size_bytes: int = 20_000) -> ShardRef:
    return write_shard(
        workspace,
        stage="triplets",
        round=0,
        index=index,
        input_digest=f"work {index}",
        samples=samples(index, seed, size_bytes),
    )


def main() -> None:
    workspace = Workspace.open(sys.argv[1])
    print("open", flush=True)
    for index in range(SHARDS):
        shard(workspace, index)


if __name__ == "__main__":
    main()
