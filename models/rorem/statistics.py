"""Measure what a removal changed, and how it differs from the item's other candidates, in each region.

The discriminator's network reads cells of latents. Their means tell neither how many pixels changed nor how
much they vary; these numbers do. They are differentiable. Lengths are fractions of the image's side. Levels
of change are spread evenly in logarithms, so that nobody's definition of a success stands in them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

_RING_FRACTIONS = (1 / 20, 1 / 8)
"""Outer radius of the two rings around the mask."""
_WINDOW_FRACTION = 1 / 20
"""Side of the window that smooths noise away."""
_LEVELS = torch.linspace(math.log(1 / 64), math.log(1 / 2), 8)
"""Logarithms of the sizes of change that are counted, where images have the range [-1, 1]."""
_SHARPNESS = 6.0
"""Slope of a soft count: a change e^(1/6) times the level counts 0.73 instead of 0.5."""
_SMALLEST = 1e-4
_FAINT = 1e-3
"""Added before a logarithm: of areas and levels, and of sizes."""


class Others(NamedTuple):
    """What candidates see of the other candidates of their items."""

    mean: Tensor
    """B×3×H×W float, [-1, 1]: the others' mean. The candidate itself where there are no others."""
    spread: Tensor
    """B×3×H×W float, [0, 1]: the others' mean distance from that mean."""
    number: Tensor
    """B float: how many others there are."""


def others_of(own: Tensor, rest: Sequence[Tensor]) -> Others:
    """What one candidate sees of its item's other candidates.

    Args:
        own: 3×H×W float, [-1, 1], its removal.
        rest: The removals of the others, each 3×H×W float, [-1, 1]. There may be none.

    Returns:
        A batch of one.
    """
    if not rest:
        return Others(own[None], torch.zeros_like(own)[None], own.new_zeros(1))
    removals = torch.stack(list(rest))
    mean = removals.mean(0, keepdim=True)
    return Others(mean, (removals - mean).abs().mean(0, keepdim=True), own.new_full((1,), float(len(rest))))


def stacked(parts: Sequence[Others]) -> Others:
    """Some batches of ``Others`` as one."""
    return Others(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def removal_statistics(source: Tensor, mask: Tensor, removal: Tensor, others: Others) -> Tensor:
    """Numbers of each removal, B×K float; K is the same for every image.

    Args:
        source: B×3×H×W float, [-1, 1].
        mask: B×1×H×W float, 0 or 1.
        removal: B×3×H×W float, [-1, 1].
        others: The item's other candidates.
    """
    regions = _regions(mask)
    after, before, rest = _smoothed(removal), _smoothed(source), _smoothed(others.mean)
    own = [_Change(after - before), _Change(removal - source)]
    apart = [_Change(after - rest), _Change(_smoothed(others.spread))]
    is_compared = (others.number > 0).to(removal.dtype)[:, None]
    numbers = [(_area(regions) + _SMALLEST).log().flatten(1)]
    numbers += [change.numbers(regions) for change in own]
    numbers += [change.numbers(regions) * is_compared for change in apart]
    numbers += [_textures(removal, source, after, before, regions), _seam(removal, source, mask)]
    numbers.append(torch.log1p(others.number)[:, None])
    return torch.cat(numbers, 1)


class _Change:
    """A difference of two images, B×3×H×W, as maps whose means over regions are taken."""

    def __init__(self, difference: Tensor) -> None:
        size = difference.abs().amax(1, keepdim=True)
        levels = _LEVELS.to(size)[None, :, None, None]
        beyond = torch.sigmoid(_SHARPNESS * ((size + _SMALLEST).log() - levels))
        self._maps = torch.cat([size, size**2, difference.mean(1, keepdim=True), beyond], 1)

    def numbers(self, regions: Tensor) -> Tensor:
        """B×44: mean size, its spread, sign, and the fraction beyond each level, for each region."""
        means = _means(self._maps, regions)
        size, square, sign, beyond = means[:, 0], means[:, 1], means[:, 2], means[:, 3:]
        spread = (square - size**2).clamp(min=0).add(_SMALLEST**2).sqrt()
        logs = torch.stack([(size + _FAINT).log(), (spread + _FAINT).log(), sign], 1)
        # Small areas decide: a square root stretches them.
        return torch.cat([logs, (beyond + _SMALLEST).sqrt()], 1).flatten(1)


def _regions(mask: Tensor) -> Tensor:
    """B×4×H×W, 0 or 1: the mask, two rings around it, and what lies beyond."""
    side, inner, regions = mask.shape[-1], mask, [mask]
    for fraction in _RING_FRACTIONS:
        outer = _grown(mask, max(1, round(fraction * side)))
        regions.append(outer - inner)
        inner = outer
    return torch.cat([*regions, 1 - inner], 1)


def _grown(mask: Tensor, radius: int) -> Tensor:
    """The mask and all within ``radius`` px of it, in a square."""
    wide = max_pool2d(mask, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return max_pool2d(wide, (2 * radius + 1, 1), stride=1, padding=(radius, 0))


def _area(regions: Tensor) -> Tensor:
    return regions.mean((2, 3))


def _means(maps: Tensor, regions: Tensor) -> Tensor:
    """Means B×M×R of maps B×M×H×W over regions B×R×H×W; 0 where a region is empty."""
    sums = maps.flatten(2) @ regions.flatten(2).transpose(1, 2)
    return sums / regions.sum((2, 3)).clamp(min=1)[:, None]


def _smoothed(image: Tensor) -> Tensor:
    radius = max(1, round(_WINDOW_FRACTION * image.shape[-1] / 2))
    padded = pad(image, (radius, radius, radius, radius), mode="replicate")
    return avg_pool2d(padded, 2 * radius + 1, stride=1)


def _gradient(image: Tensor) -> Tensor:
    """B×1×H×W: size of the difference to the right neighbour and to the lower one."""
    right = pad((image[..., 1:] - image[..., :-1]).abs().amax(1, keepdim=True), (0, 1))
    down = pad((image[..., 1:, :] - image[..., :-1, :]).abs().amax(1, keepdim=True), (0, 0, 0, 1))
    return right + down


def _textures(removal: Tensor, source: Tensor, after: Tensor, before: Tensor, regions: Tensor) -> Tensor:
    """B×36: spread, gradients and contrast with what lies beyond, of removal and source, and their ratios."""
    logs: list[Tensor] = []
    for image, smooth in ((removal, after), (source, before)):
        maps = torch.cat([image, image**2, _gradient(image), smooth], 1)
        means = _means(maps, regions)
        variance = (means[:, 3:6] - means[:, :3] ** 2).clamp(min=0).mean(1)
        contrast = (means[:, 7:, :-1] - means[:, 7:, -1:]).abs().amax(1)
        sizes = [variance.add(_SMALLEST**2).sqrt(), means[:, 6], contrast]
        logs.append((torch.cat(sizes, 1) + _FAINT).log())
    return torch.cat([*logs, logs[0] - logs[1]], 1)


def _seam(removal: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """B×4: gradients on the mask's edge, of removal, source and their difference, and against the inside."""
    edge = _grown(mask, 1) - (1 - _grown(1 - mask, 1))
    gradients = torch.cat([_gradient(image) for image in (removal, source, removal - source)], 1)
    on_edge = (_means(gradients, edge)[..., 0] + _FAINT).log()
    inside = (_means(gradients[:, :1], mask)[..., 0] + _FAINT).log()
    return torch.cat([on_edge, on_edge[:, :1] - inside], 1)
