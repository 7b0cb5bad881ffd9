"""Make the review guide's example images: `python -m tasks.review.make_examples MODEL_FOLDER`.

The examples are real candidates of a trained remover (``models/HASH`` of a demo's workspace) and of the
shipped base model, on synthetic scenes that no model trains on. The exact truth scores them. The clearest
one of each kind is taken by the rules below, so the same model gives the same files.
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
from tasks.sources.synthetic.samples import SyntheticConfig, SyntheticSample, as_pool_item, make_sample
from tasks.sources.synthetic.scene import World

EXAMPLES_DIR = Path(__file__).parent / "static" / "examples"
_SAMPLES = 200
_WORLDS = (World(), World(grounds="textured"))
_QUALITY = QualityConfig(residual_levels=12)
"""Stricter than the oracle's config: an example must be beyond doubt."""


@dataclass(frozen=True, eq=False)
class Assessed:
    """A candidate beside its truth."""

    candidate: Candidate
    rendered: SyntheticSample
    found: Assessment

    @property
    def painted(self) -> float:
        """Mean grey levels inside the mask between the removal and the nearer of source and truth."""
        return min(self._distance(self.rendered.source, self.rendered.mask), self.miss)

    @property
    def miss(self) -> float:
        """Mean grey levels inside the mask by which the removal differs from the truth."""
        return self._distance(self.rendered.ground_truth, self.rendered.mask)

    @property
    def kept(self) -> float:
        """Grey levels inside the mask by which the removal is nearer to the source than to the truth."""
        return self._kept_in(self.rendered.mask)

    @property
    def effect_kept(self) -> float:
        """The same on the object's shadow or reflection. Minus infinity if it has none."""
        return self._kept_in(self.rendered.effect) if self.rendered.effect.any() else -np.inf

    @property
    def blur(self) -> float:
        """Grey levels of the ground's grain that are missing in and around the mask."""
        return self._grain_lost(cv2.dilate(self.candidate.mask.astype(np.uint8), np.ones((9, 9))) > 0)

    @property
    def seam(self) -> float:
        """Grey levels by which the removal's step across the mask's border exceeds the truth's."""
        return -self._grain_lost(_border(self.candidate.mask))

    def _grain_lost(self, where: Mask) -> float:
        return float((_grain(self.rendered.ground_truth) - _grain(self.candidate.removal))[where].mean())

    def _kept_in(self, where: Mask) -> float:
        return self._distance(self.rendered.ground_truth, where) - self._distance(self.rendered.source, where)

    def _distance(self, other: RgbImage, where: Mask) -> float:
        return float(np.abs(self.candidate.removal.astype(np.float32) - other)[where].mean())


Rule = Callable[[Assessed], float]
"""How clear an example is. Minus infinity if it is no example of the kind."""


def _among(reason: str, clearness: Rule) -> Rule:
    return lambda one: clearness(one) if one.found.reason == reason else -np.inf


RULES: dict[str, Rule] = {
    "good-object": _among(
        "", lambda one: one.candidate.mask.sum() - 50 * one.miss - 100 * one.found.residual_px
    ),
    "good-effect": _among(
        "", lambda one: one.rendered.effect.sum() - 20 * one.miss - 100 * one.found.residual_px
    ),
    "left-over": _among("left-over", lambda one: one.kept),
    "hallucination": _among("left-over", lambda one: one.painted),
    "blur": lambda one: one.blur - 0.1 * one.found.residual_px,
    "seam": _among("", lambda one: one.seam),
    "effect-left": _among("effect left", lambda one: one.effect_kept - 0.5 * one.miss),
}
"""The rule of each kind. The oracle tells three faults apart. The other three are measured here."""


def assessed_candidates(remover: InpaintingRemover) -> Iterator[Assessed]:
    """Every candidate of the scenes, with its truth."""
    for world in _WORLDS:
        config = SyntheticConfig(world=world, seed=77, split="validation")
        rendered_samples = {
            rendered.key: rendered for rendered in (make_sample(config, index) for index in range(_SAMPLES))
        }
        items = [as_pool_item(rendered, "validation") for rendered in rendered_samples.values()]
        for candidate in propose_candidates(items, remover, ("tight", "dilated", "left", "right")):
            rendered = rendered_samples[candidate.item]
            found = assess(candidate.removal, rendered.source, rendered.mask, rendered.ground_truth, _QUALITY)
            yield Assessed(candidate, rendered, found)


def strip(candidate: Candidate) -> RgbImage:
    """Source and removal side by side: 3H×6W×3 uint8, enlarged, with the mask's outline on the source."""
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
    """H×W float32: what a small blur removes, in grey levels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.5))


def _border(mask: Mask) -> Mask:
    kernel = np.ones((3, 3), np.uint8)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, kernel) > 0


def main() -> None:
    """Run the command line of this file."""
    parser = argparse.ArgumentParser(description="Make the review guide's example images.")
    parser.add_argument("model", type=Path, help="folder of a trained remover, models/HASH of a workspace")
    model = parser.parse_args().model
    cv2.setNumThreads(1)
    removers = (InpaintingRemover(network_at(folder), SamplingConfig()) for folder in (model, BASE_FOLDER))
    assessed = [one for remover in removers for one in assessed_candidates(remover)]
    taken: set[str] = set()
    for name, rule in RULES.items():
        best = max((one for one in assessed if one.candidate.item not in taken), key=rule)
        taken.add(best.candidate.item)
        path = EXAMPLES_DIR / f"{name}.jpg"
        image = cv2.cvtColor(strip(best.candidate), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        print(f"{path.name}: {path.stat().st_size / 1e3:.1f} kB, {rule(best):.1f}")


if __name__ == "__main__":
    main()
