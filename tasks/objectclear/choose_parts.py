"""Choose the parts: a plate and one or two cut-outs of one light, by the number of the draw alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_specs.cutout import ShadowClass
from data_specs.reject import Reject, RejectReason


@dataclass(frozen=True, slots=True)
class Parts:
    """Positions in the lists the draw was made from."""

    plate: int
    cutouts: tuple[int, ...]


def choose_parts(
    rng: np.random.Generator, plates: int, classes: Sequence[ShadowClass], two_share: float
) -> Parts | Reject:
    """A plate and one or two cut-outs whose shadows fall alike (ObjectClear, facts 13 and 15).

    Args:
        rng: Draws.
        plates: How many plates there are.
        classes: The shadow class of every cut-out.
        two_share: Share of draws with two cut-outs, 0..1.

    Returns:
        The parts; or NO_PARTNER where two are to stand together and no other cut-out has the first one's
        class. Such a draw is refused, not made with one, or rare lights would never be seen in pairs.
    """
    plate, first = int(rng.integers(plates)), int(rng.integers(len(classes)))
    if rng.random() >= two_share:
        return Parts(plate, (first,))
    partners = [number for number, each in enumerate(classes) if each == classes[first] and number != first]
    if not partners:
        detail = f"cut-out {first} is the only one of class {classes[first]}"
        return Reject(
            source="compose", name=f"cut-out {first}", reason=RejectReason.NO_PARTNER, detail=detail
        )
    return Parts(plate, (first, partners[int(rng.integers(len(partners)))]))
