"""What turns features and statistics into logits: the paper's head, a pooled one, and the voters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PaperHead(nn.Module):
    """B×C×16×16 → B×1: conv 4×4 with strides 2, 2 and 4, each with GroupNorm(32) and SiLU, then 1×1."""

    def __init__(self, channels: int, width: int) -> None:
        """Build the head for C input channels. ``width`` must be a multiple of 32."""
        super().__init__()
        layers: list[nn.Module] = []
        for stride, padding in ((2, 1), (2, 1), (4, 0)):
            layers += [nn.Conv2d(channels, width, 4, stride, padding), nn.GroupNorm(32, width), nn.SiLU()]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits B×1. The mask is not used."""
        del mask
        return self.layers(features).flatten(1)


class PooledHead(nn.Module):
    """B×C×h×w → B×1: two layers read each cell, then mean and maximum inside, around and beyond the mask."""

    def __init__(self, channels: int, width: int) -> None:
        """Build the head for C input channels."""
        super().__init__()
        self.cells = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
            nn.SiLU(),
        )
        self.verdict = nn.Sequential(nn.Linear(6 * width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits B×1 from features B×C×h×w and the mask B×1×H×W."""
        cells = self.cells(features)
        inside = nn.functional.adaptive_max_pool2d(mask, cells.shape[-2:])
        # A shadow lies within about two cells of a mid block 8 cells wide.
        near = nn.functional.max_pool2d(inside, 5, stride=1, padding=2)
        pooled: list[Tensor] = []
        for where in (inside, near - inside, 1 - near):
            area = where.sum((2, 3)).clamp(min=1)
            pooled += [(cells * where).sum((2, 3)) / area, (cells * where).amax((2, 3))]
        return self.verdict(torch.cat(pooled, 1))


_VOTER_WIDTH = 48
_EPOCHS, _BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 8, 32, 2e-3, 1e-2
"""How voters are fitted; chosen on the demo's seed 11."""


class Voters(nn.Module):
    """Some small networks that read a removal's statistics. Their mean errs less than each of them."""

    centre: Tensor
    scale: Tensor

    def __init__(self, voters: int, numbers: int) -> None:
        """Build ``voters`` networks for ``numbers`` statistics of each image."""
        super().__init__()
        width = _VOTER_WIDTH
        self.voters = nn.ModuleList(
            nn.Sequential(
                nn.Linear(numbers, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
            )
            for _ in range(voters)
        )
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits N×voters, float, from statistics N×numbers."""
        typical = (numbers - self.centre) / self.scale
        return torch.cat([voter(typical) for voter in self.voters], 1)


def fit_voters(numbers: Tensor, good: Sequence[bool], voters: int, seed: int) -> Voters:
    """Fit voters to labelled removals. YES and NO share every batch; each voter draws its own.

    Statistics are so few that this takes seconds at any size of images.

    Args:
        numbers: N×K float, the statistics of each removal.
        good: N labels, of both kinds.
        voters: How many networks.
        seed: Of their first weights and their batches.
    """
    labels = torch.tensor([float(yes) for yes in good])
    kinds = [torch.nonzero(labels == kind).flatten() for kind in (1, 0)]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Voters(voters, numbers.shape[1])
    module.centre.copy_(numbers.mean(0))
    module.scale.copy_(numbers.std(0) + 1e-3)
    steps = max(1, _EPOCHS * len(labels) // _BATCH)
    optimizer = torch.optim.AdamW(module.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    typical = (numbers - module.centre) / module.scale
    for _ in range(steps):
        losses: list[Tensor] = []
        for voter in module.voters:
            halves = [kind[torch.randint(len(kind), (_BATCH // 2,), generator=generator)] for kind in kinds]
            drawn = torch.cat(halves)
            losses.append(
                nn.functional.binary_cross_entropy_with_logits(voter(typical[drawn])[:, 0], labels[drawn])
            )
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    return module.eval().requires_grad_(False)
