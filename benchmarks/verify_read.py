"""Time `dataset verify` on a shard against its SHA-256 alone. Goal: ratio >= 0.9.

Run: python -m benchmarks.verify_read [--json]
"""

import argparse
import hashlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._images import image_like
from benchmarks._processes import ends_in_time
from tasks.storage.dataset.verify_shard import check_shard
from tasks.storage.shards import encode_triplet, write_shard
from tasks.storage.shards.writer import tar_file
from tasks.storage.workspace import Workspace

GOAL = 0.9


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500, help="512×512 triplets in a shard")
    parser.add_argument("--image-format", choices=("jpeg", "png"), default="jpeg")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    images = image_like(min(arguments.samples, 16))
    encoded = [encode_triplet(image, arguments.image_format) for image in images]
    samples = (
        replace(encoded[number % len(encoded)], key=f"sample-{number:05d}")
        for number in range(arguments.samples)
    )
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".verify_read-") as folder:
        workspace = Workspace.open(folder)
        ref = write_shard(workspace, stage="triplets", round=0, index=0, input_digest="work", samples=samples)
        rows = workspace.ledger().shards.samples_of(ref.name)

        def hash_only() -> None:
            digest = hashlib.sha256()
            for block in workspace.store.blocks(tar_file(ref)[0]) or ():
                digest.update(block)
            assert digest.hexdigest() == ref.sha256

        def verify() -> None:
            assert check_shard(workspace, ref, rows) == ([], ref.size_bytes)

        ways = {"sha256 only": hash_only, "control": hash_only, "verify": verify}
        seconds = alternate(ways, arguments.runs, time.process_time)
    figures = {
        **ratio_of(seconds, "verify", "sha256 only"),
        "ratio_control": ratio_of(seconds, "control", "sha256 only")["ratio"],
        "goal": GOAL,
        "shard_mb": ref.size_bytes / 1e6,
        "mb_per_cpu_second": ref.size_bytes / 1e6 / min(seconds["verify"]),
    }
    report("verifying a shard", seconds, arguments.samples, figures, arguments.as_json)


if __name__ == "__main__":
    main()
