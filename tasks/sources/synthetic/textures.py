"""Albedo of the ground and the wall: a Texture at plane coordinates."""

import numpy as np
from numpy.typing import NDArray

from tasks.sources.synthetic.scene import Texture

# Always float32; numpy's stubs call some products of float32 arrays float64.
Field = NDArray[np.floating]


def albedo(texture: Texture, u: Field, v: Field) -> Field:
    """Albedo at plane coordinates.

    Args:
        texture: What the plane is made of.
        u: N float32, metres across.
        v: N float32, metres along.

    Returns:
        3×N float32, 0..1.
    """
    # Summed wave by wave: a matrix product's rounding may differ with the number of threads.
    color = np.repeat(np.array(texture.base, np.float32)[:, None], len(u), axis=1)
    for frequency_u, frequency_v, phase, *amplitudes in texture.waves.tolist():
        wave = np.sin(2 * np.pi * (u * frequency_u + v * frequency_v) + phase)
        for channel, amplitude in zip(color, amplitudes, strict=True):
            channel += texture.contrast * amplitude * wave
    if texture.kind != "soft":
        color *= _pattern(texture, u, v)
    return np.clip(color, 0.02, 0.98)


def _pattern(texture: Texture, u: Field, v: Field) -> Field:
    """N float32 brightness factor of the fine pattern, about 1."""
    across, along = u * texture.scale, v * texture.scale
    if texture.kind == "tiles":
        return 1 - 0.25 * ((np.floor(across) + np.floor(along)) % 2).astype(np.float32)
    if texture.kind == "planks":
        board = np.floor(across * 2)
        gap = (across * 2 - board) < 0.08
        return np.where(gap, 0.6, 0.85 + 0.3 * _hash(board, np.zeros_like(board))).astype(np.float32)
    octaves = (_value_noise(across * 2**k, along * 2**k) * 0.5**k for k in range(1, 5))
    return (0.75 + 0.5 * sum(octaves, np.zeros_like(u))).astype(np.float32)


def _value_noise(x: Field, y: Field) -> Field:
    """Smoothly interpolated lattice noise, 0..1."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    top = _hash(x0, y0) * (1 - fx) + _hash(x0 + 1, y0) * fx
    bottom = _hash(x0, y0 + 1) * (1 - fx) + _hash(x0 + 1, y0 + 1) * fx
    return top * (1 - fy) + bottom * fy


def _hash(x: Field, y: Field) -> Field:
    """A lattice point's fixed value, 0..1, by integer mixing (the same on every machine)."""
    n = _whole(x) * np.uint32(374761393) + _whole(y) * np.uint32(668265263)
    n = (n ^ (n >> 13)) * np.uint32(1274126177)
    return ((n ^ (n >> 16)) & 0xFFFF).astype(np.float32) / 65535


def _whole(x: Field) -> NDArray[np.uint32]:
    """Whole numbers modulo 2³²."""
    return x.astype(np.int64).astype(np.uint32)
