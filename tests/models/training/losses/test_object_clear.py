"""ObjectClear's losses against numbers worked out by hand, and that training moves what it should."""

import math

import pytest
import torch

from models.objectclear.attention import capture_object_attention
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train
from models.training.losses.object_clear import (
    ForegroundBatch,
    ObjectClearLossConfig,
    mask_loss,
    object_clear_loss,
    small_foreground,
)


def left_quarter() -> torch.Tensor:
    """16×16; the next column of 4×4 cells gets an eighth of it from the antialiasing, so it counts too."""
    foreground = torch.zeros(1, 1, 16, 16)
    foreground[..., :4] = 1
    return foreground


def test_the_mask_loss_is_the_papers_sum() -> None:
    """Two layers of other sizes; background mean − foreground mean + 1, heads first, then layers."""
    first = torch.zeros(1, 2, 4, 4)
    first[0, 0, :, :2] = 0.8  # all on the foreground: 0 − 0.8 + 1
    first[0, 1, :, 2:] = 0.4  # all on the background: 0.4 − 0 + 1
    second = torch.full((1, 1, 8, 8), 0.3)  # no preference: 1
    expected = ((0.2 + 1.4) / 2 + 1.0) / 2
    assert mask_loss([first, second], left_quarter()).item() == pytest.approx(expected, abs=1e-6)


def test_layers_of_one_size_count_each_once() -> None:
    """Beside the layers above a third, of the first one's shape, that looks wholly at the background."""
    first, second, third = torch.zeros(1, 2, 4, 4), torch.full((1, 1, 8, 8), 0.3), torch.zeros(1, 2, 4, 4)
    first[0, 0, :, :2], first[0, 1, :, 2:] = 0.8, 0.4
    third[..., 2:] = 0.6
    expected = ((0.2 + 1.4) / 2 + 1.0 + 1.6) / 3
    assert mask_loss([first, second, third], left_quarter()).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("foreground", "expected", "slope"), [(1, 0.75, -1 / 16), (0, 1.25, 1 / 16)])
def test_an_image_of_one_kind_has_no_mean_of_the_other(
    foreground: int, expected: float, slope: float
) -> None:
    attention = torch.full((1, 1, 4, 4), 0.25, requires_grad=True)
    loss = mask_loss([attention], torch.full((1, 1, 8, 8), float(foreground)))
    assert loss.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(loss, attention)
    torch.testing.assert_close(gradient, torch.full_like(gradient, slope))


@pytest.mark.parametrize(("pixels", "kept"), [(2, False), (3, True)])
def test_a_cell_with_a_tenth_of_foreground_belongs_to_it(pixels: int, kept: bool) -> None:
    """Antialiased, a 4×4 cell weighs its inner pixels 7/32 along each side and its outer ones 5/32."""
    foreground = torch.zeros(1, 1, 16, 16)
    foreground[0, 0, 5, 5 : 5 + pixels] = 1
    by_hand = 7 / 32 * sum((7 / 32, 7 / 32, 5 / 32)[:pixels])
    assert (by_hand > 0.1) == kept
    assert bool(small_foreground(foreground, (4, 4))[0, 0, 1, 1]) == kept


def batch(count: int = 2) -> ForegroundBatch:
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand(count, 3, 64, 64, generator=generator) * 2 - 1
    source, mask, foreground = truth.clone(), torch.zeros(count, 1, 64, 64), torch.zeros(count, 1, 64, 64)
    source[..., 20:40, 20:50] = -0.9
    mask[..., 20:40, 20:36] = 1
    foreground[..., 20:40, 20:50] = 1
    return ForegroundBatch(source, mask, truth, foreground)


def test_the_losses_add_with_their_weight(build_object_clear) -> None:
    network = build_object_clear()

    def loss(weight: float) -> float:
        config = ObjectClearLossConfig(mask_loss_weight=weight)
        with capture_object_attention(network.unet, network.prompt.object_position) as maps:
            batch_slice = BatchSlice(torch.Generator().manual_seed(1))
            return object_clear_loss(network, batch(), config, batch_slice, maps).item()

    alone, with_mask = loss(0), loss(0.01)
    assert 0.01 * 0.5 < with_mask - alone < 0.01 * 1.5
    assert loss(0.02) - alone == pytest.approx(2 * (with_mask - alone), rel=1e-3)


def test_training_moves_attention_onto_the_foreground(build_object_clear) -> None:
    network = build_object_clear()
    module = torch.nn.ModuleDict({"unet": network.unet, "object_token": network.object_token})
    frozen = {name: p.clone() for name, p in network.image_encoder.state_dict().items()}
    before = {name: p.clone() for name, p in module.state_dict().items()}
    config = ObjectClearLossConfig(mask_loss_weight=1)

    def loss_of(each: ForegroundBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return object_clear_loss(network, each, config, batch_slice, maps)

    settings = TrainingConfig(steps=12, learning_rate=2e-3, warmup_steps=0, ema_decay=0)
    with capture_object_attention(network.unet, network.prompt.object_position) as maps:
        losses = train(module, loss_of, lambda start, stop, _: [batch()] * (stop - start), settings)
    assert math.fsum(losses[-3:]) < 0.9 * math.fsum(losses[:3])
    moved = {name.partition(".")[0] for name, p in module.state_dict().items() if not p.equal(before[name])}
    assert moved == {"unet", "object_token"}
    assert all(p.equal(frozen[name]) for name, p in network.image_encoder.state_dict().items())


def test_gradient_checkpointing_changes_no_gradient(build_object_clear) -> None:
    """The maps are taken in every block a second time, on the way back."""
    config, gradients = ObjectClearLossConfig(mask_loss_weight=1), []
    for again in (False, True):
        network = build_object_clear()
        network.unet.train()
        if again:
            network.unet.enable_gradient_checkpointing()
        with capture_object_attention(network.unet, network.prompt.object_position) as maps:
            batch_slice = BatchSlice(torch.Generator().manual_seed(1))
            object_clear_loss(network, batch(), config, batch_slice, maps).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.unet.parameters()]))
    assert gradients[0].norm() > 0
    torch.testing.assert_close(gradients[1], gradients[0])
