"""Remove pasted objects from photographs: tiny ObjectClear, Telea and PatchMatch, with and without attention.

``ratio`` is the gain of PatchMatch on the grown mask over the tiny ObjectClear, in dB of the whole image: the
mean over 20 images of eight photographs. LPIPS is measured where its weights are named.

Run: python -m benchmarks.photographs [--json] [--sheet sheet.jpg] [--choosing] [--metric-weights DIR]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from benchmarks._pasted import CHOOSING, REPORTING, pasted
from benchmarks._processes import ends_in_time
from data_specs.arrays import Mask, RgbImage
from data_specs.metric import RemovedImage
from data_specs.triplet import EffectTriplet, Triplet
from models.baselines.patch_match import PatchMatchFill
from models.baselines.telea import TeleaFill
from models.metrics.lpips import Lpips
from models.metrics.psnr import psnr
from models.objectclear.attended_fill import AttendedFill
from models.objectclear.remover import ObjectClearRemover
from models.protocols import RemovalModel
from tasks.evaluation.evaluate import removals_of
from tasks.registry.removers import open_remover
from tasks.sources.clip.clip import ClipConfig, clip_triplets

TINY, OURS = "ObjectClear, tiny", "PatchMatch, grown"
_CLIP_IMAGES = 32
_CLIP = ClipConfig(size_px=96, crop_min_px=96)
_SHOWN_PX = 112
"""Side of an image of the sheet."""

Removals = dict[str, list[RgbImage]]


def ways() -> dict[str, RemovalModel]:
    """The removers. *grown*: the mask with what ObjectClear attends to."""
    tiny = open_remover("object-clear", None).remover
    assert isinstance(tiny, ObjectClearRemover)
    return {
        TINY: tiny,
        "Telea": TeleaFill(),
        "Telea, grown": AttendedFill(tiny, TeleaFill()),
        "PatchMatch": PatchMatchFill(),
        OURS: AttendedFill(tiny, PatchMatchFill()),
    }


def removed(triplets: Sequence[Triplet]) -> Removals:
    """Every remover's removals."""
    found: Removals = {}
    for name, remover in ways().items():
        found[name] = removals_of(remover, triplets)
        Console(stderr=True).print(f"{name}: {len(triplets)} images")
    return found


def measured(removals: Removals, triplets: Sequence[Triplet], lpips: Lpips | None) -> dict:
    """Means of each way. For the clip, whose effects nobody measured, M_fg is the mask."""
    rows = {}
    for name, images in removals.items():
        pairs = list(zip(images, triplets, strict=True))
        rows[name] = {
            "psnr": _mean(psnr(r, t.ground_truth, np.ones_like(t.mask)) for r, t in pairs),
            "psnr_fg": _mean(psnr(r, t.ground_truth, _foreground(t)) for r, t in pairs),
            "psnr_bg": _mean(psnr(r, t.ground_truth, ~_foreground(t)) for r, t in pairs),
            "detail": float(np.median([_detail(r, t) for r, t in pairs])),
        }
        if lpips is not None:
            shown = [
                RemovedImage(
                    source=t.source,
                    mask=t.mask,
                    effect_region=_foreground(t),
                    ground_truth=t.ground_truth,
                    removal=r,
                )
                for r, t in pairs
            ]
            rows[name]["lpips"] = _mean(lpips.measure([image])[0] for image in shown)
    return rows


def clip_block() -> list[Triplet]:
    """Crops of the sample clip's held-out block, evenly spaced."""
    held_out = [t for t in clip_triplets(_CLIP) if isinstance(t, Triplet) and t.split == "test"]
    chosen = np.linspace(0, len(held_out) - 1, min(_CLIP_IMAGES, len(held_out))).round().astype(int)
    return [held_out[number] for number in chosen]


def sheet(removals: Removals, triplets: Sequence[Triplet], path: Path) -> None:
    """One image of each photograph, about the object: source, each way, truth."""
    rows, seen = [], set[str]()
    for number, triplet in enumerate(triplets):
        if triplet.scene in seen:
            continue
        seen.add(triplet.scene)
        box = _about(_foreground(triplet))
        images = [triplet.source, *(found[number] for found in removals.values()), triplet.ground_truth]
        shown = [
            cv2.resize(image[box], (_SHOWN_PX, _SHOWN_PX), interpolation=cv2.INTER_AREA) for image in images
        ]
        rows.append(
            np.hstack([np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=255) for image in shown])
        )
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])


def _foreground(triplet: Triplet) -> Mask:
    return triplet.foreground if isinstance(triplet, EffectTriplet) else triplet.mask


def _detail(removal: RgbImage, triplet: Triplet) -> float:
    """Median gradient inside the mask, divided by the truth's: 0 is a smear, 1 as sharp as the truth."""
    found, truth = (float(np.median(_gradient(i)[triplet.mask])) for i in (removal, triplet.ground_truth))
    return found / max(truth, 1.0)


def _gradient(image: RgbImage) -> np.ndarray:
    grey = image.mean(axis=2, dtype=np.float32)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def _about(region: Mask) -> tuple[slice, slice]:
    """A square about the region with half of its longer side around it, inside the image."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    side = min(*region.shape, int(1.6 * (1 + max(np.ptp(rows), np.ptp(columns)))))
    starts = (
        int(np.clip((part[0] + part[-1] - side) // 2, 0, length - side))
        for part, length in zip((rows, columns), region.shape, strict=True)
    )
    top, left = starts
    return slice(top, top + side), slice(left, left + side)


def _mean(values) -> float:
    return float(np.mean(list(values)))


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choosing", action="store_true", help="Use the photographs for choosing settings.")
    parser.add_argument("--sheet", type=Path, help="Write a contact sheet, a JPEG.")
    parser.add_argument("--metric-weights", type=Path, help="The folder of lpips_alex.safetensors.")
    parser.add_argument("--json", action="store_true", dest="as_json")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    lpips = None if asked.metric_weights is None else Lpips(asked.metric_weights)
    sets: dict[str, Sequence[Triplet]] = {
        "photographs": pasted(CHOOSING if asked.choosing else REPORTING),
        "clip": [] if asked.choosing else clip_block(),
    }
    figures: dict = {"ratio": 0.0, "machine": machine()}
    for name, triplets in sets.items():
        if not triplets:
            continue
        removals = removed(triplets)
        figures[name] = {"images": len(triplets), "ways": measured(removals, triplets, lpips)}
        if name == "photographs" and asked.sheet is not None:
            sheet(removals, triplets, asked.sheet)
    found = figures["photographs"]["ways"]
    figures["ratio"] = found[OURS]["psnr"] - found[TINY]["psnr"]
    if asked.as_json:
        print(json.dumps(figures, indent=2))
        return
    for name in [name for name in sets if name in figures]:
        rows = figures[name]["ways"]
        table = Table("way", *rows[TINY], title=f"{name}: {figures[name]['images']} images")
        for way, numbers in rows.items():
            table.add_row(way, *(f"{number:.2f}" for number in numbers.values()))
        Console().print(table)
    Console().print(f"ratio: {figures['ratio']:.2f} dB\n{figures['machine']}")


if __name__ == "__main__":
    main()
