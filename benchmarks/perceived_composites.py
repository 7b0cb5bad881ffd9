"""Compare the demo's composites by perception with those by rendered truth. Goal: ratio >= 0.9.

The ratio is the number of composites with perception divided by the number with rendered truth. Sizes and
settings are the demo's. Seconds are the process's own CPU time, without rendering. The PSNRs compare two
images of one place and scale: with the cut-outs as perceived, and with the true ones.

Run: python -m benchmarks.perceived_composites [--seeds 10 11] [--detector yolo] [--json]
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.captured_pair import CapturedPair, ImagePair
from data_specs.composite import Composite
from data_specs.cutout import Cutout
from data_specs.plate import Plate
from data_specs.reject import Reject
from flows.objectclear.compositing import CompositingConfig
from flows.rorem.initial_data import CycleComposites, PreparationSettings, compositing_config
from models.metrics.psnr import psnr
from models.perception.grounding_dino import GroundingDinoConfig
from models.perception.yolo import YoloConfig
from tasks.objectclear.blend import blend, scaled_layer
from tasks.objectclear.composite import choose_parts, compose
from tasks.objectclear.cutout import cut_out
from tasks.objectclear.object_mask import capture_pair
from tasks.objectclear.perception import Perception, PerceptionConfig, load_perception
from tasks.objectclear.plate import find_plate, synthetic_plate
from tasks.sources.backgrounds import SyntheticBackgrounds, synthetic_background
from tasks.sources.image_ops import mask_iou
from tasks.sources.pairs import SyntheticPairs, read_pairs
from tasks.sources.synthetic.samples import as_captured_pair, make_sample

GOAL = 0.9
_DETECTORS = {"yolo": YoloConfig(), "grounding_dino": GroundingDinoConfig()}


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11])
    parser.add_argument("--detector", choices=list(_DETECTORS), default="grounding_dino")
    parser.add_argument("--json", action="store_true", dest="as_json")
    asked = parser.parse_args()
    perception = load_perception(PerceptionConfig(detector=_DETECTORS[asked.detector]))
    figures: dict[str, Any] = {}
    for seed in asked.seeds:
        figures[f"truth, seed {seed}"] = measured(seed, None)
        figures[f"{asked.detector}, seed {seed}"] = measured(seed, perception)
    by_truth, by_perception = (
        sum(row["composites"] for name, row in figures.items() if name.startswith(way))
        for way in ("truth", asked.detector)
    )
    answer = {"ratio": by_perception / by_truth, "goal": GOAL, **figures, "machine": machine()}
    if asked.as_json:
        print(json.dumps(answer))
        return
    table = Table("figure", *figures, title=f"ratio {answer['ratio']:.3f}, {answer['machine']}")
    for name in next(iter(figures.values())):
        table.add_row(name, *(_shown(row[name]) for row in figures.values()))
    Console().print(table)


def _shown(figure: object) -> str:
    return f"{figure:.3f}" if isinstance(figure, float) else str(figure)


@dataclass(slots=True)
class Stage:
    """What one stage kept, beside the rendered truth of the same image, and what it refused."""

    kept: list[tuple[Any, Any]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    masks: list[tuple[float, float]] = field(default_factory=list)
    """IoU of M_o and of M_fg with the truth, of each kept cut-out."""
    seconds: float = 0.0


def measured(seed: int, perception: Perception | None) -> dict[str, Any]:
    """All figures of one seed. Without perception, the rendered truth is used."""
    config = compositing_config(Path("unused"), CycleComposites(), PreparationSettings(), seed)
    cuts, plates = cut_outs(config, perception), found_plates(config, perception)
    composites = composed(config, cuts, plates)
    told = [(one, true) for one, true in cuts.kept if isinstance(true, Cutout)]
    ground = [(one.ground, true.ground) for one, true in plates.kept]
    masks = np.array(cuts.masks)
    return {
        "cut-outs": len(cuts.kept),
        "pairs refused": dict(cuts.refused.most_common()),
        "cut-outs, s": cuts.seconds,
        "M_o IoU, median": float(np.median(masks[:, 0])),
        "M_o IoU, 10th percentile": float(np.quantile(masks[:, 0], 0.1)),
        "M_fg IoU, median": float(np.median(masks[:, 1])),
        "shadow class right": float(np.mean([one.shadow_class == true.shadow_class for one, true in told])),
        "refused by truth, kept here": len(cuts.kept) - len(told),
        "plates": len(plates.kept),
        "backgrounds refused": dict(plates.refused.most_common()),
        "plates, s": plates.seconds,
        "ground precision": float(np.mean([(one & true).sum() / one.sum() for one, true in ground])),
        "ground recall": float(np.mean([(one & true).sum() / true.sum() for one, true in ground])),
        "composites": len(composites.kept),
        "attempts refused": dict(composites.refused.most_common()),
        "composites, s": composites.seconds,
        **_composites_beside_truth(cuts, composites),
    }


def cut_outs(config: CompositingConfig, perception: Perception | None) -> Stage:
    """The cut-outs of the config's synthetic pairs, each beside the cut-out by rendered truth."""
    (source,) = config.pairs
    assert isinstance(source, SyntheticPairs)
    stage = Stage()
    for number, pair in enumerate(read_pairs(source)):
        assert isinstance(pair, ImagePair)
        truth = as_captured_pair(make_sample(source.renderer, number), source.renderer.split)
        began = time.process_time()
        captured = capture_pair(pair, perception, config.object_masks, config.ground) if perception else truth
        made = captured if isinstance(captured, Reject) else cut_out(captured)
        stage.seconds += time.process_time() - began
        if isinstance(made, Reject):
            stage.refused[str(made.reason.value)] += 1
            continue
        assert isinstance(captured, CapturedPair)
        stage.kept.append((made, cut_out(truth)))
        if captured.matte.shape == truth.matte.shape:  # An aligned pair may have lost a row.
            stage.masks.append(
                (
                    mask_iou(captured.matte >= 128, truth.matte >= 128),
                    mask_iou(captured.effect | (captured.matte > 0), truth.effect | (truth.matte > 0)),
                )
            )
    return stage


def found_plates(config: CompositingConfig, perception: Perception | None) -> Stage:
    """The plates of the config's empty scenes, each beside the plate by rendered truth."""
    (source,) = config.backgrounds
    assert isinstance(source, SyntheticBackgrounds)
    stage = Stage()
    for number in range(source.scenes):
        empty = synthetic_background(source.renderer, number)
        truth = synthetic_plate(source.renderer, number, config.plates)
        began = time.process_time()
        made = truth
        if perception:
            made = find_plate(
                perception.ground_segmenter,
                perception.depth_estimator,
                config.ground,
                config.plates,
                scene=empty.scene,
                split=empty.split,
                origin=empty.origin,
                image=empty.image,
                focal_px=empty.focal_px,
            )
        stage.seconds += time.process_time() - began
        if isinstance(made, Reject):
            stage.refused[str(made.reason.value)] += 1
        elif isinstance(truth, Plate):
            stage.kept.append((made, truth))
    return stage


def composed(config: CompositingConfig, cuts: Stage, plates: Stage) -> Stage:
    """The config's attempts, as the flow draws them. Beside each composite: its plate, and the true plate."""
    stage = Stage()
    began = time.process_time()
    classes = [cutout.shadow_class for cutout, _ in cuts.kept]
    for draw in range(config.attempts):
        rng = np.random.default_rng([config.compositing.seed, draw])
        parts = choose_parts(rng, len(plates.kept), classes, config.two_object_probability)
        if isinstance(parts, Reject):
            stage.refused[str(parts.reason.value)] += 1
            continue
        plate = plates.kept[parts.plate]
        made = compose(config.compositing, draw, plate[0], [cuts.kept[number][0] for number in parts.cutouts])
        if isinstance(made, Reject):
            stage.refused[str(made.reason.value)] += 1
        else:
            stage.kept += [(composite, plate) for composite in made]
    stage.seconds = time.process_time() - began
    return stage


def _composites_beside_truth(cuts: Stage, composites: Stage) -> dict[str, float]:
    """PSNR beside the same composites of true cut-outs, scales beside true ones, and feet off the ground."""
    by_key = {cutout.key: (cutout, true) for cutout, true in cuts.kept if isinstance(true, Cutout)}
    sources, truths, scales, off = [], [], [], []
    for composite, (plate, true_plate) in composites.kept:
        placed = composite.objects[composite.removed]
        off.append(not true_plate.ground[placed.foot])
        if any(each.cutout not in by_key for each in composite.objects):
            continue
        true = by_key[placed.cutout][1]
        focal = true_plate.focal_px / true.focal_px
        scales.append(placed.scale / (focal * true.foot_depth / true_plate.depth[placed.foot]))
        here, there = (_drawn(composite, plate, by_key, way) for way in (0, 1))
        sources.append(psnr(here[0], there[0], composite.foreground))
        if len(composite.objects) > 1:
            changed = (here[1] != plate.image).any(axis=2) | (there[1] != plate.image).any(axis=2)
            truths.append(psnr(here[1], there[1], changed))
    low, median, high = np.quantile(scales, [0.1, 0.5, 0.9])
    return {
        "PSNR of sources inside M_fg, dB, median": float(np.median(sources)),
        "PSNR of ground truths with a second object, inside it, dB, median": float(np.median(truths)),
        "scale / true scale, 10th percentile": float(low),
        "scale / true scale, median": float(median),
        "scale / true scale, 90th percentile": float(high),
        "feet off the true ground": float(np.mean(off)),
    }


def _drawn(
    composite: Composite, plate: Plate, by_key: dict[str, tuple[Cutout, Cutout]], way: int
) -> tuple[Any, Any]:
    """Source and ground truth without a change of tone: way 0 with perceived cut-outs, 1 with true ones."""
    # The true cut-out may be larger and leave the plate: the blend needs a wider one.
    edge = len(plate.image) // 2
    wide = np.asarray(cv2.copyMakeBorder(plate.image, edge, edge, edge, edge, cv2.BORDER_REFLECT), np.uint8)
    inside = np.s_[edge:-edge, edge:-edge]
    drawn = [
        scaled_layer(by_key[placed.cutout][way], placed.scale, (placed.foot[0] + edge, placed.foot[1] + edge))
        for placed in composite.objects
    ]
    layers = [layer for layer in drawn if layer is not None]
    others = [layer for number, layer in enumerate(drawn) if layer and number != composite.removed]
    return blend(wide, layers)[inside], blend(wide, others)[inside]


if __name__ == "__main__":
    main()
