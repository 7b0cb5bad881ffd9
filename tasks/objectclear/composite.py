"""Make composites: choose cut-outs and a plate, blend them, write one shard (papers.md, fact 15)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.composite import Composite, PlacedObject
from data_specs.cutout import Cutout, ShadowClass
from data_specs.errors import InputError
from data_specs.keys import Split, derive_key
from data_specs.plate import Plate
from data_specs.reject import RefusedSample, Reject, RejectReason
from data_specs.shard import ShardRef
from data_specs.work import ShardWork
from tasks.execution.shard_task import shard_task
from tasks.objectclear.blend import ToneConfig, blend, match_tone, visible_masks
from tasks.objectclear.placement import Placed, PlacementConfig, far_to_near, place
from tasks.storage.shards import ShardReader, decode_cutout, decode_plate, encode_composite, shadow_class_in
from tasks.storage.shards.result import Kept, ShardResult, write_with_rejects
from tasks.storage.workspace import Workspace

# Composites: cut-outs on a plate, and one composite for each object that can be removed.


class ComposeConfig(BaseModel):
    """How composites are made."""

    model_config = ConfigDict(frozen=True)

    seed: int = Field(default=0, ge=0, description="Seed of the places.")
    placement: PlacementConfig = Field(default=PlacementConfig(), description="Requirements on a place.")
    tone: ToneConfig = Field(
        default=ToneConfig(), description="How far objects take on the colour and grain of the plate."
    )


def compose(
    config: ComposeConfig, draw: int, plate: Plate, cutouts: Sequence[Cutout]
) -> list[Composite] | Reject:
    """Make one image, with the truth about each of its objects (papers.md, fact 15).

    Args:
        config: The settings. With ``draw`` and the parts they decide every byte.
        draw: The number of the attempt.
        plate: The background.
        cutouts: One or two cut-outs of one shadow class.

    Returns:
        One composite for each object, far to near. Or a reject with the check that failed most often.

    Raises:
        InputError: If the parts belong to different splits, or the cut-outs have different shadow classes.
    """
    cv2.setNumThreads(1)  # Worker processes share the cores; cv2's own threads would compete for them.
    _check_parts(plate, cutouts)
    rng = np.random.default_rng([config.seed, draw, int(derive_key(plate.key, *_keys(cutouts))[:12], 16)])
    placed: list[Placed] = []
    for cutout in cutouts:
        place_or_reason = place(plate, cutout, placed, config.placement, rng)
        if not isinstance(place_or_reason, Placed):
            tally = ", ".join(f"{count}× {reason}" for reason, count in place_or_reason.most_common())
            name = f"draw {draw}: {cutout.origin} on {plate.origin}"
            return Reject(
                source="compose", name=name, reason=place_or_reason.most_common(1)[0][0], detail=tally
            )
        placed.append(place_or_reason)
    return _composites(config, draw, plate, far_to_near(placed), rng)


def _check_parts(plate: Plate, cutouts: Sequence[Cutout]) -> None:
    splits = {plate.split, *(cutout.split for cutout in cutouts)}
    if len(splits) > 1:
        raise InputError(
            plate.origin,
            f"parts of the splits {' and '.join(sorted(splits))} cannot be combined; give parts of one split",
        )
    lights = {cutout.shadow_class for cutout in cutouts}
    if len(lights) > 1:
        raise InputError(
            plate.origin,
            f"cut-outs with shadows {' and '.join(sorted(lights))} cannot be combined; give cut-outs "
            "of one shadow class",
        )


def _keys(cutouts: Sequence[Cutout]) -> list[str]:
    return [cutout.key for cutout in cutouts]


def _composites(
    config: ComposeConfig, draw: int, plate: Plate, placed: Sequence[Placed], rng: np.random.Generator
) -> list[Composite]:
    """The records. ``placed`` goes far to near."""
    layers = [
        match_tone(
            placed_object.layer, placed_object.scale, placed_object.cutout.tone, plate.tone, config.tone, rng
        )
        for placed_object in placed
    ]
    source = blend(plate.image, layers)
    seen = visible_masks(layers, plate.ground.shape)
    objects = tuple(
        PlacedObject(
            cutout=placed_object.cutout.key,
            class_name=placed_object.cutout.class_name,
            shadow_class=placed_object.cutout.shadow_class,
            foot=placed_object.foot,
            scale=placed_object.scale,
        )
        for placed_object in placed
    )
    name = derive_key(
        "composite",
        config.model_dump_json(),
        draw,
        plate.key,
        *(placed_object.cutout.key for placed_object in placed),
    )
    return [
        Composite(
            key=derive_key(name, removed),
            scene=plate.scene,
            scenes=tuple(sorted({plate.scene, *(placed_object.cutout.scene for placed_object in placed)})),
            split=plate.split,
            origin=f"compose:{config.seed}/{draw}/{removed}",
            plate=plate.key,
            objects=objects,
            removed=removed,
            source=source,
            mask=mask,
            foreground=foreground,
            ground_truth=blend(plate.image, layers[:removed] + layers[removed + 1 :]),
        )
        for removed, (mask, foreground) in enumerate(seen)
    ]


# Choose the parts: a plate and one or two cut-outs of one light. Only the attempt's number decides.


@dataclass(frozen=True, slots=True)
class Parts:
    """Positions in the lists of plates and cut-outs."""

    plate: int
    cutouts: tuple[int, ...]


def choose_parts(
    rng: np.random.Generator, plates: int, classes: Sequence[ShadowClass], two_object_probability: float
) -> Parts | Reject:
    """Choose a plate and one or two cut-outs whose shadows fall the same way (papers.md, facts 13 and 15).

    Args:
        rng: The attempt's random generator.
        plates: Number of plates.
        classes: The shadow class of every cut-out.
        two_object_probability: Probability of an attempt with two cut-outs, 0..1.

    Returns:
        The parts. Or NO_PARTNER if two cut-outs are wanted and no other one has the first one's shadow
        class. That attempt is rejected and not made with one object: rare lights would else never appear in
        pairs.
    """
    plate, first = int(rng.integers(plates)), int(rng.integers(len(classes)))
    if rng.random() >= two_object_probability:
        return Parts(plate, (first,))
    partners = [
        number
        for number, shadow_class in enumerate(classes)
        if shadow_class == classes[first] and number != first
    ]
    if not partners:
        detail = f"cut-out {first} is the only one of class {classes[first]}"
        return Reject(
            source="compose", name=f"cut-out {first}", reason=RejectReason.NO_PARTNER, detail=detail
        )
    return Parts(plate, (first, partners[int(rng.integers(len(partners)))]))


_AT_HAND = 256
"""Number of decoded parts kept in memory. A plate of 512 px takes 2 MB."""


class ComposeWork(ShardWork):
    """The input of one shard of composites of one split."""

    split: Split
    cutouts: tuple[ShardRef, ...]
    plates: tuple[ShardRef, ...]
    first: int = Field(ge=0)
    count: int = Field(ge=1)
    """Number of attempts, from ``first`` on."""
    two_object_probability: float = Field(ge=0, le=1)
    compose: ComposeConfig


def compose_draws(workspace: Workspace, work: ComposeWork) -> ShardResult:
    """Make each attempt. An attempt without a place or a partner becomes a reject with its reason."""
    return write_with_rejects(workspace, work, "composites", _found(workspace, work))


class _Stock:
    """The parts of one split, decoded when an attempt needs them."""

    def __init__(
        self, workspace: Workspace, work: ComposeWork, cutouts: ShardReader, plates: ShardReader
    ) -> None:
        cutout_places = _of_split(workspace, work.cutouts, work.split)
        plate_places = _of_split(workspace, work.plates, work.split)
        self.classes: list[ShadowClass] = [shadow_class_in(cutouts[place]) for place in cutout_places]
        self.plates = len(plate_places)

        # These are no methods: a cache of the object's own methods is a reference cycle. Its images would
        # then outlive the shard until Python's garbage collector runs.
        @lru_cache(_AT_HAND)
        def plate(number: int) -> Plate:
            return decode_plate(plates[plate_places[number]])

        @lru_cache(_AT_HAND)
        def cutout(number: int) -> Cutout:
            return decode_cutout(cutouts[cutout_places[number]])

        self.plate, self.cutout = plate, cutout


def _of_split(workspace: Workspace, refs: Sequence[ShardRef], split: Split) -> list[int]:
    """Positions of a split's samples in the shards, read one after the other."""
    held = workspace.ledger().shards.samples_in([ref.name for ref in refs])
    rows = [row for ref in refs for row in held[ref.name]]
    return [place for place, row in enumerate(rows) if row.split == split]


def _found(workspace: Workspace, work: ComposeWork) -> Iterator[Kept | RefusedSample | Reject]:
    with ShardReader(workspace, work.cutouts) as cutouts, ShardReader(workspace, work.plates) as plates:
        stock = _Stock(workspace, work, cutouts, plates)
        for draw in range(work.first, work.first + work.count):
            yield from _composed(work, draw, stock)


def _composed(work: ComposeWork, draw: int, stock: _Stock) -> Iterator[Kept | RefusedSample | Reject]:
    rng = np.random.default_rng([work.compose.seed, draw])
    parts = choose_parts(rng, stock.plates, stock.classes, work.two_object_probability)
    if isinstance(parts, Reject):
        yield parts.model_copy(update={"name": f"draw {draw} of {work.split}: {parts.name}"})
        return
    plate = stock.plate(parts.plate)
    made = compose(work.compose, draw, plate, [stock.cutout(number) for number in parts.cutouts])
    if isinstance(made, Reject):
        yield RefusedSample(
            scene=plate.scene, split=plate.split, reject=made, images=_images(plate, parts, stock)
        )
        return
    for composite in made:
        own = replace(composite, key=derive_key("composite of", work.digest, composite.key))
        yield Kept(encode_composite(own, work.image_format), _tally(own, len(made)))


def _images(plate: Plate, parts: Parts, stock: _Stock) -> dict[str, np.ndarray]:
    """The plate, and the objects that found no place on it."""
    objects = {f"cutout_{place}": stock.cutout(number).image for place, number in enumerate(parts.cutouts)}
    return {"image": plate.image, **objects}


def _tally(composite: Composite, objects: int) -> dict[str, str]:
    return {
        "objects": str(objects),
        "object area": size_class(float(composite.mask.mean())),
        "object and effect area": size_class(float(composite.foreground.mean())),
    }


SIZE_BOUNDS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Fractions of the image that separate the size classes. Each is twice the one before."""
SIZE_CLASSES: tuple[str, ...] = (
    f"under {SIZE_BOUNDS[0]:.2%}",
    *(f"{low:.2%} to {high:.2%}" for low, high in zip(SIZE_BOUNDS, SIZE_BOUNDS[1:], strict=False)),
    f"over {SIZE_BOUNDS[-1]:.2%}",
)


def size_class(fraction: float) -> str:
    """The size class of a fraction of the image, 0..1."""
    return SIZE_CLASSES[int(np.searchsorted(SIZE_BOUNDS, fraction, side="right"))]


compose_shard = shard_task(compose_draws, "compose", "{work.split} {work.index}")
