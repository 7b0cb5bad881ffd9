"""Mask2Former's loss: repeatable, kind to everybody else's randomness, and worth descending."""

import torch

from models.perception.mask2former import tiny_mask2former
from models.training.losses.perception import SurfaceBatch, surface_loss


def halves() -> SurfaceBatch:
    """Bright above, dark below: two classes that a network can tell apart at once."""
    images = torch.ones(2, 3, 64, 64)
    images[:, :, 32:] = -1
    classes = torch.full((2, 64, 64), 2)
    classes[:, 32:] = 0
    return SurfaceBatch(images, classes)


def test_its_points_come_from_the_generator_alone() -> None:
    torch.manual_seed(0)
    network, batch = tiny_mask2former().eval(), halves()
    losses = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(losses))
        with torch.no_grad():
            losses.append(float(surface_loss(network, batch, torch.Generator().manual_seed(seed))))
        after = torch.rand(1)
        torch.manual_seed(len(losses) - 1)
        assert torch.equal(after, torch.rand(1))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_few_steps_down_it_tell_two_surfaces_apart() -> None:
    torch.manual_seed(0)
    network, batch = tiny_mask2former().train(), halves()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for step in range(12):
        loss = surface_loss(network, batch, torch.Generator().manual_seed(step))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
