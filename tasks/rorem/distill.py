"""Distill a remover of many steps into one of four steps (papers.md, fact 7)."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from prefect import task

from models.diffusion.inpainting import InpaintingNetwork
from models.rorem.lcm_lora import LcmLoraConfig, save_lora, student_of, with_lcm_lora
from models.rorem.remover import SamplingConfig
from models.training.distributed import BatchSlice, DistributedConfig, training_device
from models.training.loop import Progress, train
from models.training.losses.lcm import LcmLossConfig, lcm_loss
from models.training.losses.remover import LatentBatch, TripletBatch
from tasks.execution import INLINE, run_shard
from tasks.registry.store import network_at
from tasks.rorem.train_remover import (
    RemoverWork,
    TrainedRemover,
    keep_remover,
    remover_batches,
)
from tasks.storage.workspace import Workspace
from tasks.training.progress import training_progress
from tasks.training.run import Processes, run_training
from tasks.training.version_data import version_reader

LORA_FOLDER = "lora"
"""The folder, inside the distilled remover's folder, that diffusers loads on top of the teacher."""


class Distillation(RemoverWork):
    """A training on what the parent, the teacher, does with the triplets of a version."""

    KIND: ClassVar[str] = "distillation"
    loss: LcmLossConfig
    lora: LcmLoraConfig
    sampling: SamplingConfig
    """How the student samples."""


def distil_remover(
    workspace: Workspace,
    work: Distillation,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> TrainedRemover:
    """Train a LoRA that does the teacher's work in a few steps, as ``run_training`` does.

    The result is a normal remover: the LoRA is merged and the schedule is replaced. The LoRA lies beside it.

    Returns:
        The remover. The ledger records the teacher as its parent. It is not promoted.
    """
    distributed = distributed or DistributedConfig()

    def fit(checkpoint: Path) -> tuple[InpaintingNetwork, UNet2DConditionModel, list[float]]:
        teacher = network_at(workspace.fetched(work.parent.folder)).to(training_device())
        student = student_of(teacher.unet, work.lora, work.training.seed)

        def loss_of(batch: TripletBatch | LatentBatch, batch_slice: BatchSlice) -> torch.Tensor:
            return lcm_loss(teacher, student, batch, work.loss, batch_slice)

        with version_reader(workspace, work.version) as data:
            batches = remover_batches(workspace, data, work.training, distributed, teacher.vae)
            losses = train(student, loss_of, batches, work.training, checkpoint, progress, distributed)
        for network in (teacher, student):
            cast(Any, network).to("cpu")
        return teacher, student, losses

    def keep(fitted: tuple[InpaintingNetwork, UNet2DConditionModel, list[float]]) -> TrainedRemover:
        teacher, student, losses = fitted

        def save(folder: Path) -> None:
            save_lora(student, folder / LORA_FOLDER)
            with_lcm_lora(teacher, folder / LORA_FOLDER).save(folder)

        return keep_remover(workspace, work, work.sampling, save, losses, distilled=True)

    again = partial(distil_remover, workspace, work, distributed=distributed)
    processes = Processes(distributed.processes, again, progress)
    return run_training(workspace, work.digest, TrainedRemover, fit, keep, processes)


@task(task_run_name="distil: {work.name}")
def distil(workspace: Workspace, work: Distillation, distributed: DistributedConfig) -> TrainedRemover:
    """Distil a remover, with a progress bar in the terminal and in Prefect."""
    with training_progress(f"training {work.name}") as progress:
        arguments = (work, progress, distributed)
        return run_shard(INLINE, workspace, "distil remover", work.digest, distil_remover, *arguments)
