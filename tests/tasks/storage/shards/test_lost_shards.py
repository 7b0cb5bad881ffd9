"""A shard that vanishes or is cut short under a training: named, and the training goes on once it is back."""

import shutil
from pathlib import Path

import pytest

from data_specs.errors import ShardError
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.rorem.train_remover import RemoverTraining, train_remover
from tasks.storage.shards.writer import tar_path


def work_on(studio) -> RemoverTraining:
    return RemoverTraining(
        name="lost",
        parent=studio.remover,
        version=studio.version.number,
        version_sha256=studio.version.sha256,
        training=TrainingConfig(steps=6, batch_size=4, warmup_steps=1, checkpoint_every=2),
        loss=RemoverLossConfig(),
        sampling=SamplingConfig(steps=2),
    )


def checkpoint_in(studio) -> Path:
    (found,) = studio.workspace.models_dir.glob("*.checkpoint.safetensors")
    return found


@pytest.mark.parametrize("workers", [0, 1])
def test_cut_short_in_the_middle_it_is_named_and_the_training_goes_on_once_it_is_back(
    studio, tmp_path: Path, workers: int
) -> None:
    unbroken = work_on(studio).model_copy(update={"version_sha256": "another name for the same work"})
    losses = train_remover(studio.workspace, unbroken).losses
    tar, kept, steps = tar_path(studio.workspace, studio.pairs.name), tmp_path / "kept.tar", []
    shutil.copy(tar, kept)

    def cut(step: int, *_: object) -> None:
        steps.append(step)
        if step == 3:
            with tar.open("r+b") as file:
                file.truncate(2000)

    distributed = DistributedConfig(loader_workers=workers)
    with pytest.raises(
        ShardError, match=f"^shard {studio.pairs.name} is truncated; run `cleanplate dataset verify`$"
    ):
        train_remover(studio.workspace, work_on(studio), cut, distributed)
    before = checkpoint_in(studio).read_bytes()
    with pytest.raises(ShardError, match=f"^shard {studio.pairs.name} has 2000 bytes, not the"):
        train_remover(studio.workspace, work_on(studio))
    tar.unlink()
    with pytest.raises(
        ShardError, match=f"^shard {studio.pairs.name} is missing; run `cleanplate dataset verify`$"
    ):
        train_remover(studio.workspace, work_on(studio))
    assert checkpoint_in(studio).read_bytes() == before
    shutil.copy(kept, tar)
    begun = len(steps)
    resumed = train_remover(studio.workspace, work_on(studio), lambda step, *_: steps.append(step))
    assert resumed.losses == losses
    assert steps[begun] > 1, "it went on from the checkpoint"
