"""A remover of one size on images of any: what it is shown, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from data_specs.arrays import Mask, RgbImage
from models.images.any_size import AnySizeRemover
from models.images.mask_variants import widen
from models.images.window import choose_window, show_mask
from models.rorem.remover import InpaintingRemover, SamplingConfig


@dataclass
class EvenGround:
    """Knows the ground truth here, an even ground of level 100, and makes it 3 levels too light."""

    shown: list[tuple[int, ...]] = field(default_factory=list)
    masked: list[int] = field(default_factory=list)
    model_hash: str = "even"

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        self.shown += [source.shape for source in sources]
        self.masked += [int(mask.sum()) for mask in masks]
        assert all(mask.any() and not mask.all() for mask in masks)
        return [np.full_like(source, 103) for source in sources]


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(40, 40, 30), (64, 64, 20), (101, 67, 15), (80, 900, 33), (3000, 4000, 180)],
    ids=["small", "its own size", "odd", "panorama", "photo"],
)
def test_the_object_goes_and_the_rest_stays_to_the_bit(height: int, width: int, size: int) -> None:
    mask = np.zeros((height, width), bool)
    top, left = height // 3, width // 4
    mask[top : top + size, left : left + size] = True
    grain = np.random.default_rng(1).integers(98, 103, (height, width, 3), np.uint8)
    source = np.where(mask[..., None], np.uint8(200) - grain, grain)
    even = EvenGround()
    removal = AnySizeRemover(even, 64).remove([source], [mask], [0])[0]
    assert removal.shape == source.shape
    assert even.shown[0][0] % 16 == 0 == even.shown[0][1] % 16
    assert min(even.shown[0][:2]) <= 64
    shown = show_mask(mask, choose_window(mask, 64))
    assert even.masked == [int(widen(shown, "dilated").sum())] != [int(shown.sum())]
    # Inside, the generated level; the object's own grain has gone too.
    assert np.abs(removal[mask].astype(int) - 103).max() <= 2
    # From some work pixels beyond the mask on, nothing has changed: dilation, blur, band and resizing.
    scale = max(1.0, 2.5 * size / 64)
    kernel = np.ones((2 * round(16 * scale) + 1,) * 2, np.uint8)
    far = cv2.dilate(mask.astype(np.uint8), kernel) == 0
    np.testing.assert_array_equal(removal[far], source[far])


def test_one_seed_one_removal_and_a_hash_of_its_own(build_network) -> None:
    inner = InpaintingRemover(build_network(8), SamplingConfig(steps=2))
    outer = AnySizeRemover(inner, 32)
    image = np.random.default_rng(2).integers(0, 256, (70, 50, 3), np.uint8)
    mask = np.zeros((70, 50), bool)
    mask[20:40, 10:30] = True
    first, again, other = (outer.remove([image], [mask], [seed])[0] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    hashes = {inner.model_hash, outer.model_hash, AnySizeRemover(inner, 64).model_hash}
    assert len(hashes) == 3


def test_windows_of_one_size_share_a_pass(build_network) -> None:
    """Three images, two work sizes: two batches of the inner model, and the order is kept."""
    network = build_network(8)
    batches: list[int] = []
    network.unet.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    sources = [
        np.full(shape, level, np.uint8)
        for shape, level in (((40, 40, 3), 60), ((40, 70, 3), 120), ((40, 40, 3), 200))
    ]
    masks = [np.zeros(source.shape[:2], bool) for source in sources]
    for mask in masks:
        mask[12:24, 12:24] = True
    masks[1][12:24, 12:36] = True  # its window is oblong
    remover = AnySizeRemover(InpaintingRemover(network, SamplingConfig(steps=1)), 32)
    together = remover.remove(sources, masks, [1, 2, 3])
    assert sorted(batches) == [1, 2]
    alone = [remover.remove([s], [m], [n])[0] for s, m, n in zip(sources, masks, (1, 2, 3), strict=True)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.astype(int), other, atol=1)
