"""Distill a remover of many steps into one of four steps (papers.md, fact 7)."""

from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict

from data_specs.keys import derive_key
from models.rorem.lcm_lora import LcmLoraConfig, save_lora, student_of, with_lcm_lora
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig, Share, first_process_first, training_device
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.lcm import LcmLossConfig, lcm_loss
from models.training.losses.remover import LatentBatch, TripletBatch
from tasks.registry.removers import RemoverRef
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
"""The folder, inside the distilled remover's folder, that diffusers loads on top of the teacher."""


class Distillation(BaseModel):
    """Everything that decides the weights of a distilled remover."""

    model_config = ConfigDict(frozen=True)

    name: str
    """A label for people; it does not count in the digest."""
    parent: RemoverRef
    """The teacher."""
    version: int
    version_sha256: str
    """SHA-256 of the version's sample list."""
    training: TrainingConfig
    loss: LcmLossConfig
    lora: LcmLoraConfig
    sampling: SamplingConfig
    """How the student samples."""

    @property
    def digest(self) -> str:
        """The name of this work. The label and the location of the teacher do not count."""
        facts = self.model_dump_json(exclude={"name": True, "parent": {"folder"}, "version": True})
        return derive_key("distillation", facts)


def distil_remover(
    workspace: Workspace,
    work: Distillation,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> Trained:
    """Train a LoRA that does the teacher's work in a few steps. Continues from its checkpoint after a kill.

    The result is a normal remover: the LoRA is merged and the schedule is replaced. The LoRA lies beside it.

    Returns:
        The remover. The ledger records the teacher as its parent. It is not promoted.
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
        return known_training(workspace, work) or keep_trained(workspace, work, save, losses, distilled=True)
