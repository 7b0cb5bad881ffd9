"""Make the guide's example images: `python -m benchmarks.make_review_examples MODEL_FOLDER`.

Real candidates of a trained remover (``models/HASH`` of a demo's workspace) and of the shipped base, on
studio scenes nobody trains on, judged by exact truth. Of each kind the clearest one is taken, by the rules
below, so the same model gives the same files.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage
from data_specs.assessment import Assessment, QualityConfig
from data_specs.candidate import Candidate
from models.rorem.remover import InpaintingRemover, SamplingConfig
from tasks.evaluation.success import assess
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.rorem.propose import propose_candidates
from tasks.sources.synthetic.samples import SyntheticConfig, SyntheticSample, as_pool_item, make_shot
from tasks.sources.synthetic.scene import World

EXAMPLES_DIR = Path(__file__).parents[1] / "tasks/review/static/examples"
_SHOTS = 200
_WORLDS = (World(), World(grounds="textured"))
_QUALITY = QualityConfig(residual_levels=12)
"""Stricter than the oracle's: an example must be beyond doubt."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A candidate beside the truth about it."""

    candidate: Candidate
    shot: SyntheticSample
    found: Assessment

    @property
    def painted(self) -> float:
        """Mean grey levels inside the mask by which the removal differs from source and truth, the nearer."""
        return min(self._distance(self.shot.source, self.shot.mask), self.miss)

    @property
    def miss(self) -> float:
        """Mean grey levels inside the mask by which the removal misses the truth."""
        return self._distance(self.shot.ground_truth, self.shot.mask)

    @property
    def kept(self) -> float:
        """Grey levels inside the mask by which the removal is nearer to the source than to the truth."""
        return self._kept_in(self.shot.mask)

    @property
    def effect_kept(self) -> float:
        """The same where the object's shadow or reflection lies; minus infinity where there is none."""
        return self._kept_in(self.shot.effect) if self.shot.effect.any() else -np.inf

    @property
    def blur(self) -> float:
        """Grey levels of the ground's grain that are missing in and about the mask."""
        return self._grain_lost(cv2.dilate(self.candidate.mask.astype(np.uint8), np.ones((9, 9))) > 0)

    @property
    def seam(self) -> float:
        """Grey levels by which the removal steps across the mask's border more than the truth does."""
        return -self._grain_lost(_border(self.candidate.mask))

    def _grain_lost(self, where: Mask) -> float:
        return float((_grain(self.shot.ground_truth) - _grain(self.candidate.removal))[where].mean())

    def _kept_in(self, where: Mask) -> float:
        return self._distance(self.shot.ground_truth, where) - self._distance(self.shot.source, where)

    def _distance(self, other: RgbImage, where: Mask) -> float:
        return float(np.abs(self.candidate.removal.astype(np.float32) - other)[where].mean())


Rule = Callable[[Judged], float]
"""How clear an example is; what is no example of the kind gives minus infinity."""


def _among(reason: str, clearness: Rule) -> Rule:
    return lambda one: clearness(one) if one.found.reason == reason else -np.inf


RULES: dict[str, Rule] = {
    "good-object": _among(
        "", lambda one: one.candidate.mask.sum() - 50 * one.miss - 100 * one.found.residual_px
    ),
    "good-effect": _among(
        "", lambda one: one.shot.effect.sum() - 20 * one.miss - 100 * one.found.residual_px
    ),
    "left-over": _among("left-over", lambda one: one.kept),
    "hallucination": _among("left-over", lambda one: one.painted),
    "blur": lambda one: one.blur - 0.1 * one.found.residual_px,
    "seam": _among("", lambda one: one.seam),
    "effect-left": _among("effect left", lambda one: one.effect_kept - 0.5 * one.miss),
}
"""Each one's rule. The oracle tells three faults apart; hallucination, blur and seam are measured here."""


def judged_candidates(remover: InpaintingRemover) -> Iterator[Judged]:
    """Every candidate of the scenes, with its truth."""
    for world in _WORLDS:
        config = SyntheticConfig(world=world, seed=77, split="validation")
        shots = {shot.key: shot for shot in (make_shot(config, index) for index in range(_SHOTS))}
        items = [as_pool_item(shot, "validation") for shot in shots.values()]
        for candidate in propose_candidates(items, remover, ("tight", "dilated", "left", "right")):
            shot = shots[candidate.item]
            found = assess(candidate.removal, shot.source, shot.mask, shot.ground_truth, _QUALITY)
            yield Judged(candidate, shot, found)


def strip(candidate: Candidate) -> RgbImage:
    """Source and removal side by side: 3H×6W×3 uint8, enlarged, the mask's outline on the source."""
    height, width = candidate.mask.shape
    size = (3 * width, 3 * height)
    source, removal = (
        cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        for image in (candidate.source, candidate.removal)
    )
    mask = cv2.resize(candidate.mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(source, contours, -1, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(np.hstack([source, removal]), np.uint8)


def _grain(image: RgbImage) -> NDArray[np.float32]:
    """H×W float32, what a small blur takes away, in grey levels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.5))


def _border(mask: Mask) -> Mask:
    kernel = np.ones((3, 3), np.uint8)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, kernel) > 0


def main() -> None:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Make the review guide's example images.")
    parser.add_argument("model", type=Path, help="folder of a trained remover, models/HASH of a workspace")
    model = parser.parse_args().model
    cv2.setNumThreads(1)
    removers = (InpaintingRemover(network_at(folder), SamplingConfig()) for folder in (model, BASE_FOLDER))
    judged = [one for remover in removers for one in judged_candidates(remover)]
    taken: set[str] = set()
    for name, rule in RULES.items():
        best = max((one for one in judged if one.candidate.item not in taken), key=rule)
        taken.add(best.candidate.item)
        path = EXAMPLES_DIR / f"{name}.jpg"
        image = cv2.cvtColor(strip(best.candidate), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        print(f"{path.name}: {path.stat().st_size / 1e3:.1f} kB, {rule(best):.1f}")


if __name__ == "__main__":
    main()
