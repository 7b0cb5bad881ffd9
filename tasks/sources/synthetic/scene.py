"""Draw a scene from a seed: ground, backdrop, sun, camera and a few solids.

Units are metres. x points right, y up, z away from the camera, which stands at (0, height, 0).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Shape = Literal["sphere", "box", "cylinder", "cone"]
SHAPES: tuple[Shape, ...] = ("sphere", "box", "cylinder", "cone")
Grounds = Literal["soft", "textured", "mixed"]


class World(BaseModel):
    """The properties of the synthetic scenes."""

    model_config = ConfigDict(frozen=True)

    grounds: Grounds = Field(
        default="soft",
        description="Grounds of the scenes. soft: smooth colour fields. textured: grain, planks or tiles. "
        "mixed: both.",
    )
    shadow_fraction: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Fraction of scenes with a sun. The others are overcast and have no shadows.",
    )
    gloss_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fraction of scenes with a glossy ground that reflects the objects.",
    )
    max_objects: int = Field(
        default=3, ge=1, le=6, description="Maximum number of objects in a scene. The minimum is one."
    )
    apart: bool = Field(
        default=True,
        description="Whether objects never hide one another. Only ground or wall is then behind the "
        "removed object.",
    )


@dataclass(frozen=True, slots=True)
class Solid:
    """One object that stands on the ground."""

    shape: Shape
    x: float
    z: float
    radius: float
    """Half width in metres: a box's half side, the radius of a cone's foot."""
    height: float
    """For box, cylinder and cone. The height of a sphere is 2·radius."""
    turn: float
    """Radians around the vertical, for boxes only."""
    color: tuple[float, float, float]
    """Albedo, 0..1."""


@dataclass(frozen=True, slots=True)
class Texture:
    """Albedo of a plane as a function of its two coordinates."""

    kind: Literal["soft", "grain", "planks", "tiles"]
    base: tuple[float, float, float]
    contrast: float
    scale: float
    """Cycles per metre of the dominant pattern."""
    waves: NDArray[np.float32]
    """K×6: frequency u, frequency v, phase, amplitude of red, green, blue."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that the renderer needs. All of it follows from the seed."""

    seed: int
    solids: tuple[Solid, ...]
    ground: Texture
    wall: Texture
    wall_z: float
    """Distance of the backdrop wall. Inf = open sky."""
    sky: tuple[float, float, float]
    sun_azimuth: float
    """Radians, direction TOWARDS the sun: 0 = away from the camera (+z), growing to the right (+x)."""
    sun_elevation: float
    """Radians above the horizon."""
    sun_strength: float
    """Fraction of the light that is direct, 0..1. 0 = overcast, no shadows."""
    sun_softness: float
    """Angular radius of the sun in radians. 0 = hard shadows."""
    gloss: float
    """Reflectance of the ground, 0..1."""
    camera_height: float
    camera_pitch: float
    """Radians downwards."""
    half_view: float
    """Tangent of half the field of view."""


def draw_scene(seed: int, world: World) -> Scene:
    """The scene of ``seed``. The same seed and world give the same scene."""
    rng = np.random.default_rng([seed, 0x5CE11E])
    sunny = rng.random() < world.shadow_fraction
    solids = _draw_solids(rng, int(rng.integers(1, world.max_objects + 1)), world.apart)
    walled = rng.random() < 0.7
    return Scene(
        seed=seed,
        solids=solids,
        ground=_draw_texture(rng, world.grounds),
        wall=_draw_texture(rng, "soft"),
        wall_z=float(rng.uniform(7.5, 12)) if walled else float("inf"),
        sky=_as_rgb(rng.uniform(0.55, 0.95, 3)),
        sun_azimuth=float(rng.uniform(-np.pi, np.pi)),
        sun_elevation=float(rng.uniform(0.45, 0.95)),
        sun_strength=float(rng.uniform(0.45, 0.7)) if sunny else 0.0,
        sun_softness=float(rng.choice([0.0, 0.06, 0.12])),
        gloss=float(rng.uniform(0.15, 0.35)) if rng.random() < world.gloss_fraction else 0.0,
        camera_height=float(rng.uniform(1.8, 2.8)),
        camera_pitch=float(rng.uniform(0.25, 0.40)),
        half_view=float(rng.uniform(0.42, 0.55)),
    )


def focal_px(scene: Scene, size_px: int) -> float:
    """The camera's focal length in pixels, for an image of this side."""
    return size_px / (2 * scene.half_view)


def without(scene: Scene, index: int) -> Scene:
    """The same scene without solid ``index``."""
    return replace(scene, solids=scene.solids[:index] + scene.solids[index + 1 :])


def _draw_solids(rng: np.random.Generator, count: int, apart: bool) -> tuple[Solid, ...]:
    """Up to ``count`` solids whose feet do not touch. If ``apart``, nor do their silhouettes overlap."""
    solids: list[Solid] = []
    for _ in range(8 * count):
        if len(solids) == count:
            break
        solid = _draw_solid(rng)
        if all(_clear(solid, other, apart) for other in solids):
            solids.append(solid)
    return tuple(solids)


def _clear(one: Solid, other: Solid, apart: bool) -> bool:
    """Whether there is space between two solids. A box's corner reaches 1.42 half sides out."""
    stand_clear = np.hypot(one.x - other.x, one.z - other.z) > 1.42 * (one.radius + other.radius)
    bearings = abs(one.x / one.z - other.x / other.z)
    look_clear = bearings > 1.2 * (one.radius / one.z + other.radius / other.z)
    return bool(stand_clear and (look_clear or not apart))


def _draw_solid(rng: np.random.Generator) -> Solid:
    z = float(rng.uniform(3.6, 6.4))
    hue = rng.random()
    return Solid(
        shape=SHAPES[int(rng.integers(len(SHAPES)))],
        x=float(rng.uniform(-0.32, 0.32) * z),
        z=z,
        radius=float(rng.uniform(0.3, 0.6)),
        height=float(rng.uniform(0.6, 1.5)),
        turn=float(rng.uniform(0, np.pi / 2)),
        color=_vivid(hue, float(rng.uniform(0.35, 0.9)), float(rng.uniform(0.35, 0.95))),
    )


def _vivid(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """HSV, each 0..1, as RGB 0..1."""
    sector = (np.array([5, 3, 1]) + hue * 6) % 6
    return _as_rgb(value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1))


def _draw_texture(rng: np.random.Generator, grounds: Grounds) -> Texture:
    kinds: dict[Grounds, tuple[Literal["soft", "grain", "planks", "tiles"], ...]] = {
        "soft": ("soft",),
        "textured": ("grain", "planks", "tiles"),
        "mixed": ("soft", "grain", "planks", "tiles"),
    }
    base = rng.uniform(0.2, 0.6) + rng.uniform(-0.1, 0.1, 3)
    return Texture(
        kind=kinds[grounds][int(rng.integers(len(kinds[grounds])))],
        base=_as_rgb(np.clip(base, 0.08, 0.75)),
        contrast=float(rng.uniform(0.02, 0.08)),
        scale=float(rng.uniform(0.6, 1.6)),
        waves=_draw_waves(rng, 5),
    )


def _draw_waves(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    frequency = rng.normal(0, 0.13, (count, 2))
    phase = rng.uniform(0, 2 * np.pi, (count, 1))
    amplitude = rng.normal(0, 1, (count, 1)) + rng.normal(0, 0.4, (count, 3))
    return np.concatenate([frequency, phase, amplitude / np.sqrt(count)], axis=1).astype(np.float32)


def _as_rgb(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
