"""A small studio, filmed once: shots, the cut-outs made of them, and empty plates."""

import numpy as np
import pytest

from data_specs.cutout import Cutout
from data_specs.plate import Plate
from tasks.objectclear.blend import tone_of
from tasks.objectclear.cutout import cut_out
from tasks.objectclear.plate import PlateConfig, synthetic_plate
from tasks.sources.synthetic.samples import SyntheticConfig, SyntheticSample, as_captured_pair, make_sample
from tasks.sources.synthetic.scene import World

WORLD = World(grounds="mixed", gloss_fraction=0.2, max_objects=2)
SIZE = 128


@pytest.fixture(scope="session")
def shots() -> list[SyntheticSample]:
    return [make_sample(SyntheticConfig(world=WORLD, size_px=SIZE, seed=31), number) for number in range(60)]


@pytest.fixture(scope="session")
def cutouts(shots: list[SyntheticSample]) -> list[Cutout]:
    made = [cut_out(as_captured_pair(shot, "train")) for shot in shots]
    return [each for each in made if isinstance(each, Cutout)]


@pytest.fixture(scope="session")
def plates() -> list[Plate]:
    config = SyntheticConfig(world=WORLD, size_px=SIZE, seed=31)
    made = [synthetic_plate(config, number, PlateConfig()) for number in range(12)]
    return [each for each in made if isinstance(each, Plate)]


@pytest.fixture
def flat_plate() -> Plate:
    """200×240 grey, ground below row 80, one metre a row from the horizon at row 40; hand-made depth."""
    ground = np.zeros((200, 240), bool)
    ground[80:] = True
    rows = np.arange(200, dtype=np.float32)[:, None]
    depth = np.broadcast_to(np.where(rows > 40, 400 / np.maximum(rows - 40, 1), np.inf), (200, 240))
    return Plate(
        key="flat",
        scene="flat scene",
        split="train",
        origin="hand",
        image=np.full((200, 240, 3), 128, np.uint8),
        ground=ground,
        depth=depth.astype(np.float32),
        focal_px=240.0,
        horizon=40.0,
        tone=tone_of(np.full((200, 240, 3), 128, np.uint8)),
    )
