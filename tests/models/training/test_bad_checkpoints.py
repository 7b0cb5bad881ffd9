"""Numbers that are none, damaged or foreign checkpoints, a full disk: a clear word, the last state kept."""

import math
import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from data_specs.errors import ModelError
from models.training.checkpoint import TrainingState, save_checkpoint
from models.training.distributed import BatchSlice, DistributedConfig
from models.training.loop import train


def test_a_loss_that_is_no_number_is_an_error_that_keeps_the_checkpoint(
    tmp_path: Path, fresh, batches, config
) -> None:
    checkpoint, seen = tmp_path / "c.safetensors", []

    def run_with(factor: float) -> list[float]:
        module = fresh()

        def loss_of(batch: Tensor, _batch_slice: BatchSlice) -> Tensor:
            return module(batch).pow(2).mean() * (factor if len(seen) == 5 else 1)

        return train(module, loss_of, batches, config, checkpoint, lambda step, *_: seen.append(step))

    with pytest.raises(ModelError, match="the loss became nan at step 5; lower the learning rate"):
        run_with(math.nan)
    assert seen == [1, 2, 3, 4, 5]
    assert len(run_with(1.0)) == config.steps
    assert seen[5:] == [5, 6, 7, 8, 9], "it goes on from the checkpoint of step 4"


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, run, fresh, config) -> None:
    checkpoint = tmp_path / "c.safetensors"
    run(fresh(), checkpoint=checkpoint)
    with pytest.raises(ModelError, match="other settings"):
        run(fresh(), config.model_copy(update={"learning_rate": 1e-3}), checkpoint)
    wider = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 2))
    with pytest.raises(ModelError, match="other settings|another network"):
        run(wider, checkpoint=checkpoint)
    data = checkpoint.read_bytes()
    for damaged in (data[:-50], data[:20], b"", b"not a checkpoint at all"):
        checkpoint.write_bytes(damaged)
        with pytest.raises(
            ModelError,
            match=rf"^{checkpoint}: the checkpoint is damaged .* delete it to start from the beginning",
        ):
            run(fresh(), checkpoint=checkpoint)
    save_file({"weight/0.weight": torch.zeros(2)}, checkpoint)
    with pytest.raises(ModelError, match="delete it to start from the beginning"):
        run(fresh(), checkpoint=checkpoint)


def test_a_changed_setting_is_named(tmp_path: Path, run, fresh, config) -> None:
    run(fresh(), checkpoint=tmp_path / "c")
    with pytest.raises(
        ModelError, match=r"learning_rate was 0.01 and is now 0.001\); restore them, or delete it"
    ):
        run(fresh(), config.model_copy(update={"learning_rate": 1e-3}), tmp_path / "c")


def test_a_poisoned_gradient_reaches_no_checkpoint(tmp_path: Path, fresh, batches, config) -> None:
    """The loss is a number, its gradient is not: √0 has an infinite slope."""
    module, checkpoint = fresh(), tmp_path / "c"

    def loss_of(batch: Tensor, batch_slice: BatchSlice) -> Tensor:
        return (module(batch).pow(2).mean() * 0).sqrt()

    with pytest.raises(ModelError, match="the gradient's norm became nan at step 0"):
        train(module, loss_of, batches, config.model_copy(update={"checkpoint_every": 1}), checkpoint)
    assert not checkpoint.exists()
    assert all(p.isfinite().all() for p in module.parameters())


def test_older_checkpoints_stay_and_the_damaged_newest_names_them(
    tmp_path: Path, fresh, batches, config
) -> None:
    checkpoint = tmp_path / "c"

    def kept() -> list[float]:
        module = fresh()

        def loss_of(batch: Tensor, _batch_slice: BatchSlice) -> Tensor:
            return module(batch).pow(2).mean()

        return train(
            module, loss_of, batches, config, checkpoint, distributed=DistributedConfig(keep_checkpoints=2)
        )

    losses = kept()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c.step00000008"]
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    with pytest.raises(
        ModelError, match=r"the checkpoint is damaged .*; rename c.step00000008 to c, or delete it"
    ):
        kept()
    (tmp_path / "c.step00000008").rename(checkpoint)
    assert kept() == losses


def test_a_full_disk_is_said_and_leaves_the_last_checkpoint(tmp_path: Path, run, fresh, config) -> None:
    """A process that may write no file beyond 2 kB, as a disk that fills up."""
    run(fresh(), checkpoint=tmp_path / "c", config=config)
    before = (tmp_path / "c").read_bytes()
    state = TrainingState({}, [], torch.optim.AdamW([nn.Parameter(torch.zeros(1))]), 9, [0.5] * 9)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(ModelError, match="step 9 cannot be written .*free some space and start again"):
            save_checkpoint(tmp_path / "c", state, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert (tmp_path / "c").read_bytes() == before


@pytest.mark.parametrize("part", ["weight/0.weight", "ema/2.bias", "optimizer/exp_avg/0.weight"])
def test_a_poisoned_checkpoint_is_refused_and_the_one_before_is_named(
    tmp_path: Path, fresh, run, part: str
) -> None:
    run(fresh(), checkpoint=tmp_path / "c")
    os.link(tmp_path / "c", tmp_path / "c.step00000008")
    with safe_open(tmp_path / "c", framework="pt") as file:
        tensors, facts = {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()
    tensors[part].view(-1)[1] = math.nan
    (tmp_path / "c").unlink()
    save_file(tensors, tmp_path / "c", metadata=facts)
    module = fresh()
    with pytest.raises(
        ModelError, match=f"{part} holds infinite or undefined numbers; rename c.step00000008 to c, or"
    ):
        run(module, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("part", ["ema/2.bias", "rng"])
def test_a_partial_checkpoint_is_refused(tmp_path: Path, fresh, run, part: str) -> None:
    """Whole as a file, but a tensor short."""
    run(fresh(), checkpoint=tmp_path / "c")
    with safe_open(tmp_path / "c", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys()) if name != part}
        facts = file.metadata()
    save_file(tensors, tmp_path / "c", metadata=facts)
    with pytest.raises(
        ModelError, match=f"the checkpoint is damaged .*{part}.*; delete it to start from the beginning"
    ):
        run(fresh(), checkpoint=tmp_path / "c")
