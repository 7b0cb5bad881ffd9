"""Blocks compiled in place: the same losses, the same names, and nothing of it left."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from models.objectclear.attention import capture_object_attention
from models.training.distributed import DistributedConfig, compile_blocks
from models.training.loop import TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss


@pytest.mark.slow
def test_compiled_it_learns_the_same_under_the_same_names(build_network, tmp_path: Path) -> None:
    network = build_network(4)
    config = TrainingConfig(steps=2, batch_size=2, warmup_steps=1)
    g = torch.Generator().manual_seed(0)
    images = torch.rand(2, 2, 3, 32, 32, generator=g) * 2 - 1
    batch = TripletBatch(images[0], torch.ones(2, 1, 32, 32), images[1])
    losses, weights, blocks = {}, {}, {}
    for compiled in (False, True):
        one = copy.deepcopy(network)

        def count(*_: object, one=one, compiled=compiled) -> None:
            blocks[compiled] = sum(part._compiled_call_impl is not None for part in one.unet.modules())

        losses[compiled] = train(
            one.unet,
            lambda b, share, one=one: remover_loss(one, b, RemoverLossConfig(), share),
            lambda start, stop, _: iter([batch] * (stop - start)),
            config,
            tmp_path / str(compiled),
            count,
            distributed=DistributedConfig(compile=compiled),
        )
        with safe_open(tmp_path / str(compiled), framework="pt") as file:
            weights[compiled] = sorted(file.keys())
        assert all(part._compiled_call_impl is None for part in one.unet.modules())
        assert list(one.unet.state_dict()) == list(network.unet.state_dict())
    assert blocks[False] == 0
    assert blocks[True] > 5, "the ResNet blocks and the transformer blocks"
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert weights[True] == weights[False]


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_the_object_token_has_the_same_maps(build_object_clear, checkpointing: bool) -> None:
    network = build_object_clear()
    unet = network.unet.requires_grad_(True).train()
    latents, hidden = torch.randn(2, unet.config["in_channels"], 16, 16), torch.randn(2, 7, 32)
    added = {"text_embeds": torch.randn(2, 32), "time_ids": torch.ones(2, 6)}
    if checkpointing:
        unet.enable_gradient_checkpointing()

    def step() -> tuple[list[torch.Tensor], torch.Tensor]:
        with capture_object_attention(unet, network.prompt.object_position) as maps:
            output = unet(latents, 300, hidden, added_cond_kwargs=added).sample
            (output.pow(2).mean() + torch.stack([(m**2).sum() for m in maps.values()]).sum()).backward()
        gradient = unet.conv_in.weight.grad
        unet.zero_grad(set_to_none=True)
        return [m.detach() for m in maps.values()], gradient

    expected, slope = step()
    compile_blocks(unet)
    for _ in range(2):
        found, same_slope = step()
        assert len(found) == len(expected) == 7
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(same_slope, slope, atol=1e-4, rtol=1e-3)
