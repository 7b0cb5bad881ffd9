"""Score several candidates of an image, compared with encoding everything anew for each. Goal: ratio >= 3."""

import argparse
import time

import numpy as np
import torch

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._discriminators import CASES
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.arrays import Mask, RgbImage


def candidates(images: int, each: int, size_px: int) -> tuple[list[RgbImage], list[Mask], list[RgbImage]]:
    """Sources, masks and removals of ``images`` × ``each`` candidates. Those of one image are adjacent."""
    chance = np.random.default_rng(0)

    def drawn(count: int) -> list[RgbImage]:
        return list(chance.integers(0, 256, (count, size_px, size_px, 3), np.uint8))

    sources = [source.copy() for source in drawn(images) for _ in range(each)]
    mask = np.zeros((size_px, size_px), bool)
    mask[size_px // 4 : size_px // 2, size_px // 4 : size_px // 2] = True
    return sources, [mask] * len(sources), drawn(len(sources))


@ends_in_time
def main() -> None:
    """Score in three ways in turn, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(CASES), default="tiny")
    parser.add_argument("--device", default="cpu", help="Such as cuda; full wants about 30 GB.")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--candidates", type=int, default=4, help="Of each image.")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    case = CASES[asked.size](asked.device)
    ways = case.ways(*candidates(asked.images, asked.candidates, case.size_px))
    with torch.autocast(
        torch.device(asked.device).type, torch.bfloat16, enabled=asked.precision == "bfloat16"
    ):
        scores = {name: torch.sigmoid(torch.tensor(way())) for name, way in ways.items()}
        # On a busy CPU use the process's own seconds. A GPU's work belongs to no process.
        clock = time.process_time if asked.device == "cpu" else time.perf_counter
        seconds = alternate(ways, asked.runs, clock)
    one_by_one, in_batches = (
        ratio_of(seconds, of="shared", to=f"anew, {how}") for how in ("one by one", "in batches")
    )
    gaps = [(scores["shared"] - other).abs().max() for other in scores.values()]
    figures = {
        **one_by_one,
        **{f"in_batches_{name}": value for name, value in in_batches.items()},
        "largest_difference": f"{float(max(gaps)):.1e}",
        "score_spread": f"{float(scores['shared'].max() - scores['shared'].min()):.1e}",
        "device": torch.cuda.get_device_name() if asked.device.startswith("cuda") else "cpu",
        "machine": machine(),
    }
    title = f"{asked.size}, {asked.precision}, {asked.candidates} candidates an image"
    report(title, seconds, asked.images * asked.candidates, figures, asked.json)


if __name__ == "__main__":
    main()
