"""Measure how well the shipped models find flat ground in unseen synthetic scenes. Goal: ratio >= 0.95.

The ratio is the precision: the fraction of pixels called flat ground that are ground. The class map alone is
measured too. Two scenes in three have objects on them.
Horizons are those of the plates found, compared with the true ones.

Run: python -m benchmarks.flat_ground [--json]
"""

import argparse
import json

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.arrays import Region
from data_specs.detection import SurfaceClass
from data_specs.plate import Plate
from models.perception.registry import (
    DepthEstimatorConfig,
    GroundSegmenterConfig,
    build_depth_estimator,
    build_ground_segmenter,
)
from tasks.objectclear.ground import FlatGroundConfig
from tasks.objectclear.plate import PlateConfig, find_plate
from tasks.training.perception.samples import SeenSurfaces, synthetic_surfaces

GOAL = 0.95


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--size", type=int, default=192, help="side of the images in pixels")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    scenes = [synthetic_surfaces(index, "measure", arguments.size) for index in range(arguments.scenes)]
    figures = {**measured(scenes), "goal": GOAL, "machine": machine()}
    if arguments.as_json:
        print(json.dumps(figures))
        return
    table = Table(title=f"flat ground in {arguments.scenes} unseen scenes, {arguments.size} px")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)


def measured(scenes: list[SeenSurfaces]) -> dict[str, float | int]:
    """Precision and recall over all pixels, and the plates with their horizons."""
    segmenter = build_ground_segmenter(GroundSegmenterConfig())
    estimator = build_depth_estimator(DepthEstimatorConfig())
    flat, alone = Counted(), Counted()
    off: list[float] = []
    worst = 1.0
    for seen in scenes:
        truth = seen.classes == SurfaceClass.GROUND
        alone.add(segmenter.classify(seen.image) == SurfaceClass.GROUND, truth)
        made = find_plate(
            segmenter,
            estimator,
            FlatGroundConfig(),
            PlateConfig(),
            scene="measured",
            split="test",
            origin="studio",
            image=seen.image,
            focal_px=seen.focal_px,
        )
        if isinstance(made, Plate):
            flat.add(made.ground, truth)
            worst = min(worst, float(truth[made.ground].mean()))
            if made.horizon is not None:
                off.append(abs(made.horizon - seen.horizon) / len(seen.image))
        else:
            flat.add(np.zeros_like(truth), truth)
    return {
        "ratio": flat.right / flat.found,
        "precision_of_the_worst_plate": worst,
        "recall": flat.right / flat.true,
        "precision_of_classes_alone": alone.right / alone.found,
        "recall_of_classes_alone": alone.right / alone.true,
        "plates": flat.images,
        "refused": len(scenes) - flat.images,
        "plates_without_horizon": flat.images - len(off),
        "horizon_off_median_heights": float(np.median(off)),
        "horizon_off_90th_percentile_heights": float(np.quantile(off, 0.9)),
    }


class Counted:
    """Pixels found, true and both, over images."""

    def __init__(self) -> None:
        self.found = self.true = self.right = self.images = 0

    def add(self, found: Region, truth: Region) -> None:
        """Add an image. It counts only if something was found in it."""
        self.found += int(found.sum())
        self.true += int(truth.sum())
        self.right += int((found & truth).sum())
        self.images += bool(found.any())


if __name__ == "__main__":
    main()
