"""Time writing of shards against encoding alone: the cost of hashing, disk and ledger. Goal: ratio >= 0.95.

Run: python -m benchmarks.shard_write [--json]
"""

import argparse
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._images import image_like
from benchmarks._processes import ends_in_time
from tasks.storage.shards import encode_triplet, write_shard
from tasks.storage.workspace import Workspace

GOAL = 0.95


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=512, help="512×512 JPEG triplets in a shard")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    images = image_like(min(arguments.samples, 64))
    triplets = [
        replace(images[number % len(images)], key=f"sample-{number:05d}")
        for number in range(arguments.samples)
    ]
    numbers = itertools.count()

    def encode_only() -> None:
        for triplet in triplets:
            encode_triplet(triplet, "jpeg")

    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".shard_write-") as folder:
        workspace = Workspace.open(folder)

        def encode_and_write() -> None:
            number = next(numbers)
            write_shard(
                workspace,
                stage="triplets",
                round=0,
                index=number,
                input_digest=f"run {number}",
                samples=(encode_triplet(triplet, "jpeg") for triplet in triplets),
            )

        ways = {"encode only": encode_only, "control": encode_only, "write_shard": encode_and_write}
        seconds = alternate(ways, arguments.runs)
        size_bytes = workspace.ledger().shards.all()[0].size_bytes
    figures = {
        **ratio_of(seconds, "write_shard", "encode only"),
        "ratio_control": ratio_of(seconds, "control", "encode only")["ratio"],
        "goal": GOAL,
        "shard_mb": size_bytes / 1e6,
    }
    report("writing shards", seconds, arguments.samples, figures, arguments.as_json)


if __name__ == "__main__":
    main()
