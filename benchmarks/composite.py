"""Measure compositing from shard bytes to shard bytes, 512×512. Goal: >= 40 composites a second on one core.

Each composite decodes its plate (JPEG, mask, depth) and cut-outs (PNG). For each object it encodes source and
ground truth (JPEG) and both masks. Refused attempts take time and do not count. Two other ways are measured:
only the decoding and encoding, and the same composites blended by plain numpy on whole frames at given
positions. Seconds are the process's own (one thread), so other work on the machine has little influence.
``ratio`` is composites a second divided by the goal of 40.

Run: python -m benchmarks.composite [--attempts 60] [--runs 5] [--memory 10000] [--json]
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks._alternate import alternate, report
from benchmarks._composite_parts import Stock, make_stock
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.arrays import RgbImage
from data_specs.composite import Composite, PlacedObject
from data_specs.cutout import Cutout
from data_specs.plate import Plate
from data_specs.reject import Reject
from tasks.objectclear.ground import foot_of
from tasks.storage.shards import encode_composite

GOAL = 40.0


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=60, help="attempts in each run of each way")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", type=int, default=0, help="composites over which memory is watched")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    stock = make_stock()
    known = {draw: made for draw in range(arguments.attempts) if (made := stock.composed(draw))}

    def product() -> None:
        for draw in range(arguments.attempts):
            _encode(stock.composed(draw))

    def codec_only() -> None:
        for draw, composites in known.items():
            _decoded(stock, draw)
            _encode(composites)

    def plain_numpy() -> None:
        for draw, composites in known.items():
            plate, cutouts = _decoded(stock, draw)
            _encode(_by_numpy(plate, cutouts, composites))

    ways = {"composing": product, "codec only": codec_only, "plain numpy": plain_numpy}
    seconds = alternate(ways, arguments.runs, time.process_time)
    figures = _figures(seconds, len(known), sum(len(made) for made in known.values()), arguments.attempts)
    if arguments.memory:
        figures |= _memory(stock, arguments.memory)
    report("compositing", seconds, len(known), figures, arguments.as_json)


def _figures(seconds: dict[str, list[float]], images: int, samples: int, draws: int) -> dict[str, Any]:
    rates = [images / each for each in seconds["composing"]]
    return {
        "ratio": statistics.median(rates) / GOAL,
        "ratio_low": min(rates) / GOAL,
        "ratio_high": max(rates) / GOAL,
        "goal": GOAL,
        "samples_per_composite": samples / images,
        "draws_refused": draws - images,
        "machine": machine(),
    }


def _decoded(stock: Stock, draw: int) -> tuple[Plate, list[Cutout]]:
    parts = stock.parts_of(draw)
    assert not isinstance(parts, Reject)
    return stock.decoded(parts)


def _encode(composites: Sequence[Composite]) -> None:
    for each in composites:
        encode_composite(each, "jpeg")


def _by_numpy(plate: Plate, cutouts: Sequence[Cutout], composites: Sequence[Composite]) -> list[Composite]:
    """The same images by a simple method: whole frames, float32, the plain formula."""
    frames = [_full_frame(plate, cutouts, placed) for placed in composites[0].objects]
    source = _blended(plate.image, frames)
    out = []
    for composite in composites:
        rest = frames[: composite.removed] + frames[composite.removed + 1 :]
        own = frames[composite.removed]
        hidden = np.ones(source.shape[:2], np.float32)
        for later in frames[composite.removed + 1 :]:
            hidden *= 1 - later[1][..., 0]
        seen = own[1][..., 0] * hidden
        touched = (own[1].max(axis=2) > 0) | (own[2].max(axis=2) > 0) | (own[3].max(axis=2) > 0)
        out.append(
            replace(
                composite,
                source=source,
                mask=seen >= 0.5,
                foreground=touched & (hidden > 0),
                ground_truth=_blended(plate.image, rest),
            )
        )
    return out


def _full_frame(plate: Plate, cutouts: Sequence[Cutout], placed: PlacedObject) -> list[NDArray[np.float32]]:
    """Colour, matte, darkening and brightening of one object, each H×W×3 float32."""
    cutout = next(each for each in cutouts if each.key == placed.cutout)
    height, width = (max(1, round(side * placed.scale)) for side in cutout.matte.shape)
    matte = np.repeat(cutout.matte[..., None], 3, axis=2)
    small = [
        cv2.resize(part.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for part in (cutout.image * (matte / 255), matte / 255, cutout.darkening / 255, cutout.brightening)
    ]
    row, column = foot_of(small[1][..., 0] >= 0.5)
    top, left = placed.foot[0] - row, placed.foot[1] - column
    frames = [np.zeros(plate.image.shape, np.float32) for _ in small]
    for frame, part in zip(frames, small, strict=True):
        frame[top : top + height, left : left + width] = part
    return frames


def _blended(plate: RgbImage, frames: Sequence[Sequence[NDArray[np.float32]]]) -> RgbImage:
    image, taken = plate.astype(np.float32), np.zeros(plate.shape, np.float32)
    for colour, matte, darkening, brightening in frames:
        light = np.minimum(1, (1 - darkening) / np.maximum(1 - taken, 1e-3))
        taken = np.maximum(taken, darkening) * (1 - matte)
        image = colour + (1 - matte) * (image * light + brightening)
    return np.rint(image.clip(0, 255)).astype(np.uint8)


def _memory(stock: Stock, wanted: int) -> dict[str, Any]:
    """Resident memory in the second and the last tenth of the composites, MB."""
    draw, done, resident = 0, 0, []
    while done < wanted:
        composites = stock.composed(draw)
        _encode(composites)
        draw, done = draw + 1, done + bool(composites)
        resident.append(_resident_mb())
    tenth = len(resident) // 10
    return {
        "memory_composites": done,
        "memory_mb_second_tenth": max(resident[tenth : 2 * tenth]),
        "memory_mb_last_tenth": max(resident[-tenth:]),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
