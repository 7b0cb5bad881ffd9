"""Distil a remover of many steps into one of four (papers.md, fact 7)."""

from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict

from data_specs.keys import derive_key
from data_specs.work import RemoverRef
from models.rorem.lcm_lora import LcmLoraConfig, save_lora, student_of, with_lcm_lora
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig, Share, first_process_first, training_device
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.lcm import LcmLossConfig, lcm_loss
from models.training.losses.remover import LatentBatch, TripletBatch
from tasks.registry.store import network_at
from tasks.rorem.train_remover import (
    Trained,
    checkpoint_of,
    keep_trained,
    known_training,
    remover_batches,
    version_reader,
)
from tasks.storage.workspace import Workspace

LORA_FOLDER = "lora"
"""Within a distilled remover's folder: what diffusers loads upon the teacher."""


class Distillation(BaseModel):
    """All that decides a distilled remover's weights."""

    model_config = ConfigDict(frozen=True)

    name: str
    """For people."""
    parent: RemoverRef
    """The teacher."""
    version: int
    version_sha256: str
    """Of the version's sample list."""
    training: TrainingConfig
    loss: LcmLossConfig
    lora: LcmLoraConfig
    sampling: SamplingConfig
    """The student's."""

    @property
    def digest(self) -> str:
        """Names the work; the name for people and the teacher's place do not count."""
        facts = self.model_dump_json(exclude={"name": True, "parent": {"folder"}, "version": True})
        return derive_key("distillation", facts)


def distil_remover(
    workspace: Workspace,
    work: Distillation,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> Trained:
    """Teach a LoRA to do the teacher's work in few steps; goes on from its checkpoint after a kill.

    What is kept is a remover like any other, LoRA worked in and schedule exchanged, with the LoRA beside it.

    Returns:
        The remover, recorded in the ledger with the teacher as its parent, but not promoted.
    """
    known = known_training(workspace, work)
    if known is not None:
        return known
    distributed = distributed or DistributedConfig()
    teacher = network_at(workspace.fetched(work.parent.folder)).to(training_device())
    student = student_of(teacher.unet, work.lora, work.training.seed)

    def loss_of(batch: TripletBatch | LatentBatch, share: Share) -> torch.Tensor:
        return lcm_loss(teacher, student, batch, work.loss, share)

    def save(folder: Path) -> None:
        save_lora(student, folder / LORA_FOLDER)
        with_lcm_lora(teacher, folder / LORA_FOLDER).save(folder)

    with version_reader(workspace, work.version) as (reader, samples):
        batches = remover_batches(workspace, reader, samples, work.training, distributed, teacher.vae)
        checkpoint = checkpoint_of(workspace, work)
        losses = train(student, loss_of, batches, work.training, checkpoint, progress, distributed)
    for network in (teacher, student):
        cast(Any, network).to("cpu")
    with first_process_first():
        return known_training(workspace, work) or keep_trained(workspace, work, save, losses)
