"""Statistics of removals against sums written out in numpy, and what they must tell apart."""

import numpy as np
import pytest
import torch

from models.rorem.statistics import Others, others_of, removal_statistics, stacked

SIDE = 40


def picture(seed: int) -> torch.Tensor:
    return torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def square(low: int, high: int) -> torch.Tensor:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, low:high, low:high] = 1
    return mask


def numbers_of(source: torch.Tensor, mask: torch.Tensor, removal: torch.Tensor, others: Others | None = None):
    seen = others or others_of(removal, [])
    return removal_statistics(source[None], mask[None], removal[None], seen)[0]


def test_the_others_are_a_mean_and_the_distances_from_it() -> None:
    own, rest = picture(0), [picture(1), picture(2), picture(3)]
    seen = others_of(own, rest)
    values = np.stack([image.numpy() for image in rest])
    np.testing.assert_allclose(seen.mean[0].numpy(), values.mean(0), atol=1e-6)
    np.testing.assert_allclose(seen.spread[0].numpy(), np.abs(values - values.mean(0)).mean(0), atol=1e-6)
    assert seen.number.tolist() == [3]


def test_areas_and_the_change_inside_rings_and_beyond_are_as_numpy_counts_them() -> None:
    """A mask of 8×8 px in 40×40: rings 2 px and 5 px wide, by the fractions 1/20 and 1/8 of the side."""
    source, mask = picture(4), square(16, 24)
    removal = source.clone()
    removal[:, 15, 15] += 0.5  # one pixel of the first ring, in all channels
    rows, columns = np.mgrid[:SIDE, :SIDE]
    away = np.maximum.reduce([16 - rows, rows - 23, 16 - columns, columns - 23, np.zeros_like(rows)])
    regions = [away == 0, (away > 0) & (away <= 2), (away > 2) & (away <= 5), away > 5]
    measured = numbers_of(source, mask, removal).numpy()
    np.testing.assert_allclose(measured[:4], [np.log(region.mean() + 1e-4) for region in regions], atol=1e-5)
    # The second change is of single pixels: 11 numbers a region, mean size first, regions innermost.
    change = measured[4 + 44 : 4 + 88].reshape(11, 4)
    size = np.zeros((SIDE, SIDE))
    size[15, 15] = 0.5
    means = np.array([size[region].mean() for region in regions])
    squares = np.array([(size[region] ** 2).mean() for region in regions])
    np.testing.assert_allclose(change[0], np.log(means + 1e-3), atol=1e-4)
    spread = np.sqrt(np.maximum(squares - means**2, 0) + 1e-8)
    np.testing.assert_allclose(change[1], np.log(spread + 1e-3), atol=1e-3)
    np.testing.assert_allclose(change[2], means, atol=1e-5)
    levels = np.geomspace(1 / 64, 1 / 2, 8)
    for level, row in zip(levels, change[3:], strict=True):
        soft = 1 / (1 + np.exp(-6 * (np.log(size + 1e-4) - np.log(level))))
        wanted = np.sqrt([soft[region].mean() + 1e-4 for region in regions])
        np.testing.assert_allclose(row, wanted, atol=1e-4)


def test_a_candidate_that_stands_alone_has_no_comparison_and_any_number_of_others_gives_as_many_numbers() -> (
    None
):
    source, mask, removal = picture(5), square(10, 20), picture(6)
    alone = numbers_of(source, mask, removal)
    beside = numbers_of(source, mask, removal, others_of(removal, [picture(7), picture(8)]))
    assert alone.shape == beside.shape
    compared = slice(4 + 88, 4 + 176)
    assert torch.equal(alone[compared], torch.zeros(88))
    assert (beside[compared] != 0).any()
    assert torch.equal(alone[: 4 + 88], beside[: 4 + 88]), "the removal's own numbers stay"


def test_a_batch_gives_each_image_the_numbers_it_has_alone() -> None:
    images = [(picture(n), square(5, 12 + n), picture(20 + n)) for n in range(3)]
    seen = [others_of(removal, [picture(30 + n)]) for n, (_, _, removal) in enumerate(images)]
    sources, masks, removals = (torch.stack(column) for column in zip(*images, strict=True))
    together = removal_statistics(sources, masks, removals, stacked(seen))
    for row, (source, mask, removal), others in zip(together, images, seen, strict=True):
        torch.testing.assert_close(row, numbers_of(source, mask, removal, others), atol=1e-5, rtol=1e-5)


def test_images_twice_as_large_have_nearly_the_same_numbers() -> None:
    """Lengths are fractions of the side: what is learnt at one size means the same at another."""
    smooth = torch.nn.functional.avg_pool2d(torch.stack([picture(9), picture(10)]), 9, 1, 4)
    source, removal = smooth
    mask = square(12, 24)
    wide = [torch.nn.functional.interpolate(image[None], scale_factor=2, mode="bilinear")[0]
            for image in (source, removal)]  # fmt: skip
    wide_mask = torch.nn.functional.interpolate(mask[None], scale_factor=2)[0]
    small, large = numbers_of(source, mask, removal), numbers_of(wide[0], wide_mask, wide[1])
    own = slice(0, 4 + 88)
    assert (small[own] - large[own]).abs().max() < 0.5
    other = numbers_of(source, mask, picture(11))
    assert (small[own] - other[own]).abs().max() > 1, "another removal differs by more"


def test_gradients_reach_the_removal_and_are_finite_where_nothing_changed() -> None:
    source, mask = picture(12), square(10, 20)
    removal = source.clone().requires_grad_()
    numbers_of(source, mask, removal, others_of(removal, [source])).sum().backward()
    assert removal.grad is not None
    assert torch.isfinite(removal.grad).all()


@pytest.mark.parametrize("mask", [torch.zeros(1, SIDE, SIDE), torch.ones(1, SIDE, SIDE)])
def test_an_empty_and_a_full_mask_give_finite_numbers(mask: torch.Tensor) -> None:
    assert torch.isfinite(numbers_of(picture(13), mask, picture(14))).all()
