"""Composites for a cycle's pool: a small compositing run in the cycle's own world (ObjectClear, fact 15)."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.compositing import CompositingResult, PooledComposites
from data_specs.keys import derive_key
from flows.objectclear.compositing import CompositingConfig
from flows.rorem.initial_data import PreparationSettings
from tasks.objectclear.compose import ComposeConfig
from tasks.objectclear.plate_part import PlateConfig
from tasks.sources.backgrounds import StudioBackgrounds
from tasks.sources.pairs import StudioPairs
from tasks.sources.synthetic.samples import StudioConfig
from tasks.storage.dataset import load_samples
from tasks.storage.workspace import Workspace

_CAPTURED_LARGER = 2
"""Times the composites' side: a cut-out is reduced to its place and never enlarged."""


class CycleComposites(BaseModel):
    """How large a cycle's compositing run is; the defaults are the demo's."""

    model_config = ConfigDict(frozen=True)

    pairs: int = Field(default=160, ge=1, le=100_000, description="Studio pairs that objects are cut out of.")
    backgrounds: int = Field(default=40, ge=1, le=100_000, description="Empty studio scenes to stand on.")
    draws: int = Field(default=200, ge=1, le=100_000, description="Pictures to try to compose.")


def compositing_config(
    folder: Path, sizes: CycleComposites, preparation: PreparationSettings, seed: int
) -> CompositingConfig:
    """The run's settings: train scenes of the cycle's world that neither its pairs nor its pool show."""
    # The preparation's seeds are small numbers; this one is apart from them all.
    apart = int(derive_key("cycle composites", seed)[:12], 16)
    plates = StudioConfig(world=preparation.world, size_px=preparation.size_px, seed=apart)
    captures = plates.model_copy(update={"size_px": _CAPTURED_LARGER * preparation.size_px})
    return CompositingConfig(
        workspace=folder,
        pairs=(StudioPairs(studio=captures, shots=sizes.pairs),),
        backgrounds=(StudioBackgrounds(studio=plates, scenes=sizes.backgrounds),),
        draws=sizes.draws,
        picture_format="png",
        to_pool=True,
        # What is exactly known needs no least size to be seen well.
        plates=PlateConfig(least_side_px=preparation.size_px),
        compose=ComposeConfig(seed=seed),
    )


def pooled_composites(workspace: Workspace, made: CompositingResult, version: int) -> PooledComposites:
    """What became of the pool's composites: how many phases have drawn, and how many a version holds."""
    ledger = workspace.ledger()
    held = ledger.samples_in([ref.name for ref in ledger.shards(stage="composites")])
    composed = {row.key: row.scene for rows in held.values() for row in rows}
    pooled = [key for key in ledger.pool_items("train") if key in composed]
    scenes = {composed[key] for key in pooled}
    grown = [
        each for each in load_samples(workspace, version) if each.stage == "grown" and each.scene in scenes
    ]
    return PooledComposites(made=made, drawn=len(pooled) - len(ledger.undrawn(pooled)), grown=len(grown))
