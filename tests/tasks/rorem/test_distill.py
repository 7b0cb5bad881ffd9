"""Distilling a remover: known, resumed to the bit, kept with its LoRA, opened like any other."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_specs.errors import ModelError
from flows.rorem.train_remover import DistillationConfig, distil_on_version
from models.rorem.lcm_lora import LcmLoraConfig, with_lcm_lora
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.loop import TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from tasks.registry.removers import load_remover, open_remover
from tasks.registry.store import network_at
from tasks.rorem.distill import LORA_FOLDER, Distillation, distil_remover

CONFIG = TrainingConfig(steps=4, batch_size=4, warmup_steps=1, checkpoint_every=2)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def work_on(studio, **changes) -> Distillation:
    facts = {
        "name": "four steps",
        "parent": studio.remover,
        "version": studio.version.number,
        "version_sha256": studio.version.sha256,
        "training": CONFIG,
        "loss": LcmLossConfig(guidance_low=0, guidance_high=0),
        "lora": LcmLoraConfig(rank=4),
        "sampling": SamplingConfig(steps=4),
    }
    return Distillation.model_validate({**facts, **changes})


def test_distilled_once_and_kept_as_a_remover_with_its_lora(studio, tmp_path: Path) -> None:
    space, told = studio.workspace, []
    trained = distil_remover(space, work_on(studio), lambda *now: told.append(now[0]))
    assert told == [1, 2, 3, 4]
    entry = space.ledger().models.of_hash(trained.remover.hash)
    assert (entry.kind, entry.parent, entry.dataset_version) == (
        "remover",
        studio.remover.hash,
        studio.version.number,
    )
    assert entry.distilled
    assert not space.ledger().models.of_hash(studio.remover.hash).distilled
    assert space.ledger().models.champion("remover").hash == studio.remover.hash, "recorded, not promoted"
    again = distil_remover(space, work_on(studio, name="another"), lambda *now: told.append(now[0]))
    assert (again, len(told)) == (trained, 4)

    folder = space.root / trained.remover.folder
    teacher = network_at(space.root / studio.remover.folder)
    by_lora = InpaintingRemover(with_lcm_lora(teacher, folder / LORA_FOLDER), SamplingConfig(steps=4))
    source = np.full((32, 32, 3), 128, np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[8:20, 8:20] = True
    ours, theirs = (
        r.remove([source], [mask], [3])[0] for r in (load_remover(space, trained.remover), by_lora)
    )
    assert np.array_equal(ours, theirs)
    assert type(network_at(folder).scheduler).__name__ == "LCMScheduler"
    opened = open_remover(str(folder), None)
    assert opened.remover.remove([source], [mask], [3])[0].shape == (32, 32, 3)
    with pytest.raises(ModelError, match="at most 50 steps, not 51"):
        open_remover(str(folder), 51).remover.remove([source], [mask], [3])
    after = teacher.unet.state_dict()
    kept = network_at(folder).unet.state_dict()
    assert after.keys() == kept.keys()
    assert any(not torch.equal(after[name], kept[name]) for name in after)


@pytest.mark.parametrize("kill_at", [1, 3])
def test_killed_and_started_again_it_ends_with_the_same_weights(studio, kill_at: int) -> None:
    def kill(step: int, _total: int, _loss: float) -> None:
        if step == kill_at:
            raise Killed

    space = studio.workspace
    with pytest.raises(Killed):
        distil_remover(space, work_on(studio), kill)
    resumed = distil_remover(space, work_on(studio))
    elsewhere = work_on(studio, training=CONFIG.model_copy(update={"checkpoint_every": 100}))
    unbroken = distil_remover(space, elsewhere)
    assert resumed.losses == unbroken.losses
    assert resumed.remover.hash == unbroken.remover.hash


def test_other_settings_are_other_work(studio) -> None:
    moved = studio.remover.model_copy(update={"folder": "elsewhere"})
    assert work_on(studio, name="other", parent=moved).digest == work_on(studio).digest
    digests = {
        work_on(studio).digest,
        work_on(studio, lora=LcmLoraConfig(rank=8)).digest,
        work_on(studio, loss=LcmLossConfig()).digest,
        work_on(studio, version_sha256="other").digest,
        work_on(studio, parent=studio.remover.model_copy(update={"hash": "other"})).digest,
    }
    assert len(digests) == 5


def test_the_remover_in_charge_is_the_teacher_if_none_is_named(studio) -> None:
    config = DistillationConfig(
        workspace=studio.workspace.root, training=CONFIG.model_copy(update={"steps": 1})
    )
    trained = distil_on_version.fn(config)
    assert studio.workspace.ledger().models.of_hash(trained.remover.hash).parent == studio.remover.hash
    assert trained.remover.sampling.steps == 4
