"""Scenes by hand, for tests whose truth is worked out by hand too."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tasks.sources.synthetic.scene import Scene, Solid, Texture

SceneMaker = Callable[..., Scene]


def one_colored(level: float) -> Texture:
    return Texture(
        kind="soft", base=(level, level, level), contrast=0, scale=1, waves=np.zeros((1, 6), np.float32)
    )


@pytest.fixture
def make_scene() -> SceneMaker:
    """A bare overcast scene with the solids given; keywords change it."""
    bare = Scene(
        seed=0,
        solids=(),
        ground=one_colored(0.5),
        wall=one_colored(0.4),
        wall_z=float("inf"),
        sky=(0.2, 0.4, 0.9),
        sun_azimuth=0.0,
        sun_elevation=0.7,
        sun_strength=0.0,
        sun_softness=0.0,
        gloss=0.0,
        camera_height=2.2,
        camera_pitch=0.32,
        half_view=0.5,
    )

    def make(*solids: Solid, **changes: object) -> Scene:
        return replace(bare, solids=solids, **changes)

    return make


@pytest.fixture
def post() -> Solid:
    """A red cylinder in the middle of the image."""
    return Solid(shape="cylinder", x=0.1, z=5.0, radius=0.3, height=0.9, turn=0.0, color=(0.8, 0.1, 0.1))
