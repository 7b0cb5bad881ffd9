"""A training that is killed and started again ends as an unbroken one, to the bit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from models.training.distributed import BatchSlice, DistributedConfig
from models.training.loop import TrainingConfig, train


@pytest.mark.parametrize("kill_at", [2, 4, 6, 8, 9])
def test_killed_and_resumed_is_unbroken_to_the_bit(tmp_path: Path, kill_at: int, run, fresh, killed) -> None:
    unbroken = fresh()
    losses = run(unbroken)
    checkpoint = tmp_path / "checkpoints" / "c.safetensors"
    with pytest.raises(killed):
        run(fresh(), checkpoint=checkpoint, kill_at=kill_at)
    assert checkpoint.exists() == (kill_at >= 4)
    resumed = fresh()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.add_(1)  # a resume takes the weights from the checkpoint, not from the module
    if kill_at < 4:
        resumed = fresh()
    assert run(resumed, checkpoint=checkpoint) == losses
    for found, wanted in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_killed_twice(tmp_path: Path, run, fresh, killed) -> None:
    unbroken = fresh()
    losses = run(unbroken)
    checkpoint = tmp_path / "c.safetensors"
    for kill_at in (5, 8):
        with pytest.raises(killed):
            run(fresh(), checkpoint=checkpoint, kill_at=kill_at)
    last = fresh()
    assert run(last, checkpoint=checkpoint) == losses
    assert all(torch.equal(a, b) for a, b in zip(last.parameters(), unbroken.parameters(), strict=True))


def test_dropout_goes_on_where_it_stood(tmp_path: Path, run, fresh, killed) -> None:
    """Torch's own random state is part of the checkpoint."""

    def module() -> nn.Module:
        return nn.Sequential(*fresh(), nn.Dropout(0.3))

    torch.manual_seed(1)
    unbroken = module()
    torch.manual_seed(1)
    losses = run(unbroken)
    checkpoint, broken = tmp_path / "c.safetensors", module()
    torch.manual_seed(1)
    with pytest.raises(killed):
        run(broken, checkpoint=checkpoint, kill_at=4)
    torch.manual_seed(77)
    assert run(module(), checkpoint=checkpoint) == losses


def test_a_parameter_that_no_gradient_reaches_survives_a_resume(tmp_path: Path, run, fresh, killed) -> None:
    def module() -> nn.Module:
        made = fresh()
        made.register_parameter("unused", nn.Parameter(torch.ones(3)))
        return made

    unbroken, checkpoint = module(), tmp_path / "c.safetensors"
    losses = run(unbroken)
    with pytest.raises(killed):
        run(module(), checkpoint=checkpoint, kill_at=6)
    assert run(module(), checkpoint=checkpoint) == losses


def test_8_bit_adamw_goes_on_where_it_stood(tmp_path: Path, killed) -> None:
    """A layer large enough to be kept in 8 bits, one too small, and tables that share their memory."""

    def trained(kill_at: int = -1, checkpoint: Path | None = None) -> tuple[list[float], nn.Module, set]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(5, 1024), nn.Tanh(), nn.Linear(1024, 8), nn.Linear(8, 1))
        seen: set[torch.dtype] = set()

        def loss_of(batch: Tensor, batch_slice: BatchSlice) -> Tensor:
            return (module(batch) - batch.sum(1, keepdim=True)).pow(2).mean()

        def batches(start: int, stop: int, _parts: object) -> Iterator[Tensor]:
            for number in range(start, stop):
                yield torch.randn(6, 5, generator=torch.Generator().manual_seed(number))

        def progress(step: int, *_: object) -> None:
            if step == kill_at:
                raise killed

        config = TrainingConfig(steps=8, batch_size=6, warmup_steps=1, checkpoint_every=3)
        distributed = DistributedConfig(optimizer="adamw_8bit")
        losses = train(module, loss_of, batches, config, checkpoint, progress, distributed)
        if checkpoint is not None:
            with safe_open(checkpoint, framework="pt") as file:
                seen = {file.get_tensor(name).dtype for name in list(file.keys()) if "/state1/" in name}
        return losses, module, seen

    pytest.importorskip("bitsandbytes")
    losses, unbroken, _ = trained()
    with pytest.raises(killed):
        trained(kill_at=5, checkpoint=tmp_path / "c")
    resumed, module, seen = trained(checkpoint=tmp_path / "c")
    assert resumed == losses
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), unbroken.parameters(), strict=True))
    assert seen == {torch.uint8, torch.float32}
