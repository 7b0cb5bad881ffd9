"""Make the inputs of `benchmarks/composite.py`: encoded plates and cut-outs of 512 px, and attempts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from data_specs.composite import Composite
from data_specs.cutout import Cutout, ShadowClass
from data_specs.plate import Plate
from data_specs.reject import Reject
from data_specs.shard import EncodedSample
from tasks.objectclear.blend import tone_of
from tasks.objectclear.composite import ComposeConfig, Parts, choose_parts, compose
from tasks.objectclear.cutout import cut_out
from tasks.objectclear.plate import PlateConfig, synthetic_plate
from tasks.sources.synthetic.samples import SyntheticConfig, as_captured_pair, make_sample
from tasks.sources.synthetic.scene import World
from tasks.storage.shards import decode_cutout, decode_plate, encode_cutout, encode_plate

SYNTHETIC = SyntheticConfig(
    world=World(grounds="mixed", gloss_fraction=0.1, max_objects=2), size_px=512, seed=3
)
CONFIG = ComposeConfig(seed=1)
TWO_FRACTION = 0.5
_GRAIN = 2.0
"""Levels of grain on the plates. Without it the codec would need less time than for photographs."""


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """Parts in their stored form."""

    plates: list[EncodedSample]
    cutouts: list[EncodedSample]
    classes: list[ShadowClass]

    def parts_of(self, draw: int) -> Parts | Reject:
        """The parts of an attempt."""
        rng = np.random.default_rng([CONFIG.seed, draw])
        return choose_parts(rng, len(self.plates), self.classes, TWO_FRACTION)

    def decoded(self, parts: Parts) -> tuple[Plate, list[Cutout]]:
        """The parts as images."""
        return decode_plate(self.plates[parts.plate]), [
            decode_cutout(self.cutouts[number]) for number in parts.cutouts
        ]

    def composed(self, draw: int) -> list[Composite]:
        """The product's path from shard bytes to composites. Empty if the attempt is refused."""
        parts = self.parts_of(draw)
        made = parts if isinstance(parts, Reject) else compose(CONFIG, draw, *self.decoded(parts))
        return [] if isinstance(made, Reject) else made


def make_stock(plates: int = 16, shots: int = 60) -> Stock:
    """Render synthetic scenes and cut out their objects."""
    made = [cut_out(as_captured_pair(make_sample(SYNTHETIC, number), "train")) for number in range(shots)]
    cutouts = [each for each in made if isinstance(each, Cutout)]
    return Stock(
        plates=[encode_plate(plate, "jpeg") for plate in _grainy_plates(plates)],
        cutouts=[encode_cutout(each) for each in cutouts],
        classes=[each.shadow_class for each in cutouts],
    )


def _grainy_plates(count: int) -> Iterator[Plate]:
    noise = np.random.default_rng(0)
    for number in range(count):
        plate = synthetic_plate(SYNTHETIC, number, PlateConfig())
        if isinstance(plate, Plate):
            grainy = plate.image + noise.normal(0, _GRAIN, plate.image.shape)
            image = np.rint(grainy.clip(0, 255)).astype(np.uint8)
            yield replace(plate, image=image, tone=tone_of(image))
