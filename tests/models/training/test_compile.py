"""Blocks compiled in place: the same losses, the same names, and nothing of it left."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from models.training.loop import TrainingConfig, train
from models.training.remover_loss import RemoverLossConfig, TripletBatch, remover_loss
from models.training.running import RunningConfig


@pytest.mark.slow
def test_compiled_it_learns_the_same_under_the_same_names(build_network, tmp_path: Path) -> None:
    network = build_network(4)
    config = TrainingConfig(steps=2, batch_size=2, warmup_steps=1)
    g = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, 2, 3, 32, 32, generator=g) * 2 - 1
    batch = TripletBatch(pictures[0], torch.ones(2, 1, 32, 32), pictures[1])
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
            running=RunningConfig(compile=compiled),
        )
        with safe_open(tmp_path / str(compiled), framework="pt") as file:
            weights[compiled] = sorted(file.keys())
        assert all(part._compiled_call_impl is None for part in one.unet.modules())
        assert list(one.unet.state_dict()) == list(network.unet.state_dict())
    assert blocks[False] == 0
    assert blocks[True] > 5, "the ResNet blocks and the transformer blocks"
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert weights[True] == weights[False]
