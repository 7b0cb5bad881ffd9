"""Time reading of shards against decoding from memory alone, and webdataset's loader. Goal: ratio >= 0.95.

All read in the shard's order from a warm page cache. Ours is also timed in a global shuffle.

Run: python -m benchmarks.shard_read [--json]
"""

import argparse
import random
import tempfile
from pathlib import Path

import cv2
import webdataset as wds

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._images import image_like
from benchmarks._processes import ends_in_time
from data_specs.shard import EncodedSample
from tasks.storage.shards import ShardReader, decode_triplet, encode_triplet, write_shard
from tasks.storage.workspace import Workspace

GOAL = 0.95
SHARDS = 4


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=128, help="512×512 JPEG triplets in all")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    encoded = [encode_triplet(triplet, "jpeg") for triplet in image_like(arguments.samples)]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".shard_read-") as folder:
        workspace = Workspace.open(folder)
        _write(workspace, encoded)
        seconds = _measure(workspace, encoded, arguments.runs)
    figures = {
        **ratio_of(seconds, "ShardReader", "decode only"),
        "ratio_shuffled": ratio_of(seconds, "ShardReader, shuffled", "decode only")["ratio"],
        "ratio_control": ratio_of(seconds, "control", "decode only")["ratio"],
        "ratio_webdataset": ratio_of(seconds, "webdataset", "decode only")["ratio"],
        "goal": GOAL,
    }
    report("reading shards", seconds, arguments.samples, figures, arguments.as_json)


def _write(workspace: Workspace, encoded: list[EncodedSample]) -> None:
    for index in range(SHARDS):
        write_shard(
            workspace,
            stage="triplets",
            round=0,
            index=index,
            input_digest=f"shard {index}",
            samples=encoded[index::SHARDS],
        )


def _measure(workspace: Workspace, encoded: list[EncodedSample], runs: int) -> dict[str, list[float]]:
    refs = workspace.ledger().shards.all()
    reader = ShardReader(workspace, refs)
    in_order = list(range(len(reader)))
    shuffled = random.Random(0).sample(in_order, len(in_order))
    tars = [str(workspace.shards_dir / f"{ref.name}.tar") for ref in refs]

    def decode_only() -> None:
        for sample in encoded:
            decode_triplet(sample)

    def ours(order: list[int]) -> None:
        for position in order:
            decode_triplet(reader[position])

    def webdataset() -> None:
        count = 0
        for sample in wds.WebDataset(tars, shardshuffle=False):  # pyright: ignore[reportAttributeAccessIssue]
            members = {name: data for name, data in sample.items() if not name.startswith("__")}
            decode_triplet(EncodedSample(sample["__key__"], members, "", "train"))
            count += 1
        if count != len(encoded):
            raise SystemExit(f"webdataset gave {count} of {len(encoded)} samples")

    ways = {
        "decode only": decode_only,
        "control": decode_only,
        "ShardReader": lambda: ours(in_order),
        "ShardReader, shuffled": lambda: ours(shuffled),
        "webdataset": webdataset,
    }
    return alternate(ways, runs)


if __name__ == "__main__":
    main()
