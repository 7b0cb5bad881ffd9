"""Albedo against the formula written out point by point."""

import math

import numpy as np
import pytest

from tasks.sources.synthetic.lighting import albedo
from tasks.sources.synthetic.scene import Texture, World, draw_scene


def texture_like(kind: str, contrast: float) -> Texture:
    drawn = draw_scene(3, World()).ground
    return Texture(kind=kind, base=drawn.base, contrast=contrast, scale=1.3, waves=drawn.waves)  # type: ignore[arg-type]


def test_soft_ground_is_a_sum_of_waves() -> None:
    texture = texture_like("soft", 0.08)
    for u, v in [(0.3, 4.0), (-2.1, 5.5), (0.0, 0.0)]:
        expected = np.array(texture.base, float)
        for fu, fv, phase, *amplitude in texture.waves.astype(float):
            expected += 0.08 * math.sin(2 * math.pi * (fu * u + fv * v) + phase) * np.array(amplitude)
        got = albedo(texture, np.array([u], np.float32), np.array([v], np.float32))
        np.testing.assert_allclose(got[:, 0], expected, atol=1e-5)


def test_tiles_alternate_and_planks_are_the_same_all_along() -> None:
    centre = (np.arange(-4, 4) + 0.5).astype(np.float32) / np.float32(1.3)
    tiles = texture_like("tiles", 0)
    row = albedo(tiles, centre, np.full(8, 0.5, np.float32))[0] / tiles.base[0]
    np.testing.assert_allclose(row, [1, 0.75] * 4, rtol=1e-5)
    planks = texture_like("planks", 0)
    along = albedo(planks, np.full(8, 0.3, np.float32), centre)
    assert np.ptp(along) == pytest.approx(np.ptp(along[:, 0]))


def test_grain_varies_from_point_to_point_within_its_bounds() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.uniform(-5, 5, (2, 4000)).astype(np.float32)
    texture = texture_like("grain", 0)
    factor = albedo(texture, u, v)[0] / texture.base[0]
    assert 0.75 <= factor.min() < 0.9
    assert 1.05 < factor.max() <= 1.22
    assert factor.std() > 0.03


def test_grain_is_the_integer_mixing_of_its_lattice() -> None:
    """At a lattice point of all four octaves the noise is the hash itself, here in Python's own integers."""

    def mixed(x: int, y: int) -> float:
        n = (x * 374761393 + y * 668265263) & 0xFFFFFFFF
        n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
        return ((n ^ (n >> 16)) & 0xFFFF) / 65535

    drawn = texture_like("grain", 0)
    texture = Texture(kind="grain", base=drawn.base, contrast=0, scale=1.0, waves=drawn.waves)
    for x, y in [(0, 0), (3, 5), (-7, 2), (-1, -9)]:
        factor = 0.75 + 0.5 * sum(mixed(x * 2**k, y * 2**k) * 0.5**k for k in range(1, 5))
        got = albedo(texture, np.array([x], np.float32), np.array([y], np.float32))[:, 0]
        np.testing.assert_allclose(got, np.clip(factor * np.array(drawn.base), 0.02, 0.98), rtol=1e-5)
