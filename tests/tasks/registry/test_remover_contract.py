"""Every remover by name keeps the Protocol: shapes, one removal for a seed, nothing outside is touched."""

import numpy as np
import pytest

from models.protocols import RemovalModel
from tasks.registry.removers import NAMES, open_remover

SIZES = ((96, 128), (64, 64))


@pytest.mark.parametrize("name", NAMES)
def test_a_named_remover_keeps_the_contract(name: str) -> None:
    check_remover(open_remover(name, None).remover)


def check_remover(remover: RemovalModel) -> None:
    """Two images of two sizes, each with a red box on a soft ground."""
    sources, masks = [], []
    for height, width in SIZES:
        rows, columns = np.mgrid[:height, :width]
        source = np.stack([120 + rows // 4, 90 + columns // 4, 100 + 0 * rows], axis=-1).astype(np.uint8)
        mask = np.zeros((height, width), bool)
        mask[24:40, 20:36] = True
        source[mask] = (250, 20, 20)
        sources.append(source)
        masks.append(mask)
    before, seeds, name = [source.copy() for source in sources], [3, 4], remover.model_hash
    first, second = (remover.remove(sources, masks, seeds) for _ in range(2))
    assert name == remover.model_hash != ""
    for source, kept, mask, removal, again in zip(sources, before, masks, first, second, strict=True):
        assert (removal.shape, removal.dtype) == (source.shape, np.uint8)
        np.testing.assert_array_equal(source, kept)
        np.testing.assert_array_equal(removal, again)
        assert not np.array_equal(removal[mask], source[mask])


@pytest.mark.parametrize("fault", ["shape", "chance", "in place", "nothing"])
def test_what_breaks_the_contract_is_found(fault: str) -> None:
    with pytest.raises(AssertionError):
        check_remover(Faulty(fault))


class Faulty:
    """A RemovalModel that breaks one rule."""

    model_hash = "faulty"

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._chance = np.random.default_rng(0)

    def remove(self, sources, masks, seeds):
        del seeds
        if self._fault == "nothing":
            return [source.copy() for source in sources]
        if self._fault == "shape":
            return [source[:-1] // 2 for source in sources]
        if self._fault == "chance":
            return [self._chance.integers(0, 256, source.shape, np.uint8) for source in sources]
        for source, mask in zip(sources, masks, strict=True):
            source[mask] = 0
        return [source.copy() for source in sources]
