"""The demo: the whole cycle at tiny size, from the sample clip, the studio and composites to the report."""

from pathlib import Path

from flows.rorem.cycle import CycleConfig
from flows.rorem.cycle_composites import CycleComposites


def demo_config(workspace: Path, rounds: int, seed: int) -> CycleConfig:
    """Sizes that two cores finish in ten minutes; all else is the tiny profile's default."""
    return CycleConfig(workspace=workspace, rounds=rounds, seed=seed, composites=CycleComposites())
