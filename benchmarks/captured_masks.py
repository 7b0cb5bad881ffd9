"""Measure the masks that shipped perception finds in unseen synthetic pairs. Goal: ratio >= 0.85.

The ratio is the median IoU of M_o on clean pairs. M_fg (goal: 0.80) and worn pairs are reported too.
The images of a worn pair differ by up to 10 % of exposure and 2 px, and each has noise and JPEG artefacts.

Run: python -m benchmarks.captured_masks [--pairs 60] [--size 128] [--json]

The figures in docs/experiments come from `--pairs 200`, which takes many minutes.
"""

import argparse
import json
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.arrays import Mask, RgbImage
from data_specs.captured_pair import CapturedPair, ImagePair
from tasks.objectclear.ground import FlatGroundConfig
from tasks.objectclear.object_mask import CaptureConfig, capture_pair
from tasks.objectclear.perception import Perception, PerceptionConfig, load_perception
from tasks.sources.image_ops import mask_iou
from tasks.sources.pairs import SyntheticPairs, read_pairs
from tasks.sources.synthetic.samples import SyntheticConfig, as_captured_pair, make_sample

_SEED = 970
"""Scenes that no model of the project was trained on."""
_SHIFT_PX = 2


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--json", action="store_true", dest="as_json")
    asked = parser.parse_args()
    studio = SyntheticConfig(size_px=asked.size, seed=_SEED, split="test")
    truths = [as_captured_pair(make_sample(studio, number), "test") for number in range(asked.pairs)]
    read = read_pairs(SyntheticPairs(renderer=studio, count=asked.pairs))
    images = [pair for pair in read if isinstance(pair, ImagePair)]
    perception = load_perception(PerceptionConfig())
    rows = {
        "clean": measured(images, truths, perception, 0),
        "worn": measured([worn(pair, n) for n, pair in enumerate(images)], truths, perception, _SHIFT_PX),
    }
    figures = {"ratio": rows["clean"]["M_o"], **rows, "pairs": asked.pairs, "machine": machine()}
    if asked.as_json:
        print(json.dumps(figures, indent=2))
        return
    table = Table("pairs", "taken", "M_o IoU", "M_fg IoU", "refused because", title=__doc__)
    for way, found in rows.items():
        numbers = [f"{found[name]:.3f}" for name in ("M_o", "M_fg")]
        table.add_row(way, str(found["taken"]), *numbers, str(found["refused"]))
    Console().print(table)


def measured(images: list[ImagePair], truths: list[CapturedPair], perception: Perception, left: int) -> dict:
    """Median IoUs of the accepted pairs, and why the others were refused. ``left`` columns are cut off."""
    objects, foregrounds, refused = [], [], Counter()
    for pair, truth in zip(images, truths, strict=True):
        found = capture_pair(pair, perception, CaptureConfig(), FlatGroundConfig())
        if not isinstance(found, CapturedPair):
            refused[str(found.reason.value)] += 1
            continue
        window = np.s_[: found.matte.shape[0], left : left + found.matte.shape[1]]
        objects.append(mask_iou(found.matte >= 128, truth.matte[window] >= 128))
        foregrounds.append(mask_iou(foreground(found), foreground(truth)[window]))
    return {
        "taken": len(objects),
        "M_o": float(np.median(objects)),
        "M_fg": float(np.median(foregrounds)),
        "refused": dict(refused.most_common()),
    }


def foreground(pair: CapturedPair) -> Mask:
    """M_fg, H×W bool."""
    return pair.effect | (pair.matte > 0)


def worn(pair: ImagePair, seed: int) -> ImagePair:
    """Like two exposures of a camera that moved. The ground truth lies two columns to the left."""
    rng = np.random.default_rng(seed)
    return replace(
        pair,
        source=_photographed(pair.source[:, _SHIFT_PX:], 1.0, rng),
        ground_truth=_photographed(pair.ground_truth[:, :-_SHIFT_PX], rng.uniform(0.9, 1.1), rng),
    )


def _photographed(image: RgbImage, gain: float, rng: np.random.Generator) -> RgbImage:
    lit = np.clip(image * gain + rng.normal(0, 1, image.shape), 0, 255)
    data = cv2.imencode(".jpg", np.rint(lit[..., ::-1]).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


if __name__ == "__main__":
    main()
