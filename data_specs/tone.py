"""Tone: a picture's colour and grain as a whole, by which a cut-out is matched to a plate."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tone:
    """Measured once, when a cut-out or a plate is made."""

    mean_rgb: tuple[float, float, float]
    """Mean red, green and blue, levels."""
    grain: float
    """Standard deviation of the camera's noise, levels."""
