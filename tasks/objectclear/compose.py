"""Compose: cut-outs on a plate become composites, one for each object that can be removed."""

from collections.abc import Sequence

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.composite import Composite, PlacedObject
from data_specs.cutout import Cutout
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.plate import Plate
from data_specs.reject import Reject
from tasks.objectclear.blend import blend, seen_of
from tasks.objectclear.match_tone import ToneConfig, match_tone
from tasks.objectclear.neighbours import Placed, far_to_near
from tasks.objectclear.placement import PlacementConfig, place


class ComposeConfig(BaseModel):
    """How composites are made."""

    model_config = ConfigDict(frozen=True)

    seed: int = Field(default=0, ge=0, description="Another seed, other places.")
    placement: PlacementConfig = Field(default=PlacementConfig(), description="What a place must be like.")
    tone: ToneConfig = Field(default=ToneConfig(), description="How far objects take on the plate's tone.")


def compose(
    config: ComposeConfig, draw: int, plate: Plate, cutouts: Sequence[Cutout]
) -> list[Composite] | Reject:
    """One picture, with the truth about each of its objects (ObjectClear, fact 15).

    Args:
        config: Settings; with the draw's number and the parts they decide every byte.
        draw: The number of the draw.
        plate: The background.
        cutouts: One or two, of one shadow class.

    Returns:
        A composite for each object, far to near; or a reject with the check that failed most often.

    Raises:
        InputError: When the parts belong to different splits, or the cut-outs' lights disagree.
    """
    cv2.setNumThreads(1)  # Worker processes share the cores; cv2's own threads only fight over them.
    _check_parts(plate, cutouts)
    rng = np.random.default_rng([config.seed, draw, int(derive_key(plate.key, *_keys(cutouts))[:12], 16)])
    placed: list[Placed] = []
    for cutout in cutouts:
        found = place(plate, cutout, placed, config.placement, rng)
        if not isinstance(found, Placed):
            tally = ", ".join(f"{count}× {reason}" for reason, count in found.most_common())
            name = f"draw {draw}: {cutout.origin} on {plate.origin}"
            return Reject(source="compose", name=name, reason=found.most_common(1)[0][0], detail=tally)
        placed.append(found)
    return _composites(config, draw, plate, far_to_near(placed), rng)


def _check_parts(plate: Plate, cutouts: Sequence[Cutout]) -> None:
    splits = {plate.split, *(cutout.split for cutout in cutouts)}
    if len(splits) > 1:
        raise InputError(plate.origin, f"parts of splits {' and '.join(sorted(splits))} cannot be composed")
    lights = {cutout.shadow_class for cutout in cutouts}
    if len(lights) > 1:
        raise InputError(
            plate.origin, f"cut-outs with shadows {' and '.join(sorted(lights))} cannot stand together"
        )


def _keys(cutouts: Sequence[Cutout]) -> list[str]:
    return [cutout.key for cutout in cutouts]


def _composites(
    config: ComposeConfig, draw: int, plate: Plate, placed: Sequence[Placed], rng: np.random.Generator
) -> list[Composite]:
    """The records; ``placed`` far to near."""
    layers = [
        match_tone(each.layer, each.scale, each.cutout.tone, plate.tone, config.tone, rng) for each in placed
    ]
    source = blend(plate.picture, layers)
    seen = seen_of(layers, plate.ground.shape)
    objects = tuple(
        PlacedObject(
            cutout=each.cutout.key,
            class_name=each.cutout.class_name,
            shadow_class=each.cutout.shadow_class,
            foot=each.foot,
            scale=each.scale,
        )
        for each in placed
    )
    name = derive_key(
        "composite", config.model_dump_json(), draw, plate.key, *(each.cutout.key for each in placed)
    )
    return [
        Composite(
            key=derive_key(name, removed),
            scene=plate.scene,
            scenes=tuple(sorted({plate.scene, *(each.cutout.scene for each in placed)})),
            split=plate.split,
            origin=f"compose:{config.seed}/{draw}/{removed}",
            plate=plate.key,
            objects=objects,
            removed=removed,
            source=source,
            mask=mask,
            foreground=foreground,
            ground_truth=blend(plate.picture, layers[:removed] + layers[removed + 1 :]),
        )
        for removed, (mask, foreground) in enumerate(seen)
    ]
