"""Compose a range of draws: cut-outs on plates, and one shard of composites."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from prefect import task
from pydantic import Field

from data_specs.composite import Composite
from data_specs.cutout import Cutout, ShadowClass
from data_specs.keys import Split, derive_key
from data_specs.plate import Plate
from data_specs.reject import RefusedSample, Reject
from data_specs.shard import ShardRef
from tasks.execution import INLINE, WorkersConfig, do_shard
from tasks.execution.retries import RETRY_LOST_NETWORK
from tasks.execution.shard_task import BY_WORK, ShardWork
from tasks.objectclear.choose_parts import Parts, choose_parts
from tasks.objectclear.compose import ComposeConfig, compose
from tasks.storage.shards import ShardReader, decode_cutout, decode_plate, encode_composite, shadow_class_in
from tasks.storage.shards.result import Harvest, Kept, harvest
from tasks.storage.workspace import Workspace

_AT_HAND = 256
"""Decoded parts kept in memory; a plate of 512 px is 2 MB."""


class ComposeWork(ShardWork):
    """One shard of composites of one split."""

    split: Split
    cutouts: tuple[ShardRef, ...]
    plates: tuple[ShardRef, ...]
    first: int = Field(ge=0)
    count: int = Field(ge=1)
    """Draws, from ``first``."""
    two_share: float = Field(ge=0, le=1)
    compose: ComposeConfig


def compose_draws(workspace: Workspace, work: ComposeWork) -> Harvest:
    """Compose each draw; one that finds no place or no partner is refused with its reason."""
    return harvest(workspace, work, "composites", _found(workspace, work))


class _Stock:
    """The parts of one split, decoded when a draw wants them."""

    def __init__(
        self, workspace: Workspace, work: ComposeWork, cutouts: ShardReader, plates: ShardReader
    ) -> None:
        cutout_places = _of_split(workspace, work.cutouts, work.split)
        plate_places = _of_split(workspace, work.plates, work.split)
        self.classes: list[ShadowClass] = [shadow_class_in(cutouts[place]) for place in cutout_places]
        self.plates = len(plate_places)

        # Not methods: a cache of one's own methods is a circle, and its pictures would outlive the shard
        # until Python looks for circles.
        @lru_cache(_AT_HAND)
        def plate(number: int) -> Plate:
            return decode_plate(plates[plate_places[number]])

        @lru_cache(_AT_HAND)
        def cutout(number: int) -> Cutout:
            return decode_cutout(cutouts[cutout_places[number]])

        self.plate, self.cutout = plate, cutout


def _of_split(workspace: Workspace, refs: Sequence[ShardRef], split: Split) -> list[int]:
    """Where in the shards, read one after the other, the samples of a split lie."""
    rows = [row for ref in refs for row in workspace.ledger().samples_of(ref.name)]
    return [place for place, row in enumerate(rows) if row.split == split]


def _found(workspace: Workspace, work: ComposeWork) -> Iterator[Kept | RefusedSample | Reject]:
    with ShardReader(workspace, work.cutouts) as cutouts, ShardReader(workspace, work.plates) as plates:
        stock = _Stock(workspace, work, cutouts, plates)
        for draw in range(work.first, work.first + work.count):
            yield from _composed(work, draw, stock)


def _composed(work: ComposeWork, draw: int, stock: _Stock) -> Iterator[Kept | RefusedSample | Reject]:
    rng = np.random.default_rng([work.compose.seed, draw])
    parts = choose_parts(rng, stock.plates, stock.classes, work.two_share)
    if isinstance(parts, Reject):
        yield parts.model_copy(update={"name": f"draw {draw} of {work.split}: {parts.name}"})
        return
    plate = stock.plate(parts.plate)
    made = compose(work.compose, draw, plate, [stock.cutout(number) for number in parts.cutouts])
    if isinstance(made, Reject):
        yield RefusedSample(
            scene=plate.scene, split=plate.split, reject=made, pictures=_pictures(plate, parts, stock)
        )
        return
    for composite in made:
        own = replace(composite, key=derive_key("composite of", work.digest, composite.key))
        yield Kept(encode_composite(own, work.picture_format), _tally(own, len(made)))


def _pictures(plate: Plate, parts: Parts, stock: _Stock) -> dict[str, np.ndarray]:
    """The plate, and the objects that found no place on it."""
    objects = {f"cutout_{place}": stock.cutout(number).picture for place, number in enumerate(parts.cutouts)}
    return {"picture": plate.picture, **objects}


def _tally(composite: Composite, objects: int) -> dict[str, str]:
    return {
        "objects": str(objects),
        "object area": size_class(float(composite.mask.mean())),
        "object and effect area": size_class(float(composite.foreground.mean())),
    }


SIZE_BOUNDS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Shares of the picture that part the classes of size; each is twice the one before."""
SIZE_CLASSES: tuple[str, ...] = (
    f"under {SIZE_BOUNDS[0]:.2%}",
    *(f"{low:.2%} to {high:.2%}" for low, high in zip(SIZE_BOUNDS, SIZE_BOUNDS[1:], strict=False)),
    f"over {SIZE_BOUNDS[-1]:.2%}",
)


def size_class(share: float) -> str:
    """The class of a share of the picture, 0..1."""
    return SIZE_CLASSES[int(np.searchsorted(SIZE_BOUNDS, share, side="right"))]


@task(
    task_run_name="compose {work.split} {work.index}",
    persist_result=True,
    result_serializer="json",
    cache_policy=BY_WORK,
    **RETRY_LOST_NETWORK,
)
def compose_shard(workspace: Workspace, work: ComposeWork, workers: WorkersConfig = INLINE) -> Harvest:
    """One shard of composites."""
    return do_shard(workers, workspace, "compose", work.digest, compose_draws, work)
