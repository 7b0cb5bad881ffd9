"""Retrain the remover on a dataset version (papers.md, facts 1 to 3 and 6)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from prefect import task

from data_specs.keys import derive_key
from data_specs.losses import TrainingLosses
from data_specs.result import ResultKind
from models.diffusion.inpainting import InpaintingNetwork
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.distributed import BatchSlice, DistributedConfig, training_device
from models.training.loop import BatchesFrom, Progress, TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.execution import INLINE, run_shard
from tasks.registry.removers import RemoverRef
from tasks.registry.store import keep_model, network_at, record
from tasks.storage.workspace import Workspace
from tasks.training.data import triplet_batches
from tasks.training.latent_cache import cached_latents, latent_batches
from tasks.training.progress import training_progress
from tasks.training.run import Processes, TrainedModel, TrainingWork, run_training
from tasks.training.version_data import VersionData, training_triplets, version_reader


class RemoverWork(TrainingWork):
    """Everything that decides a remover's weights, apart from what its kind of training adds."""

    KIND: ClassVar[str]
    parent: RemoverRef
    """The remover that training starts from, or learns from."""
    version: int
    version_sha256: str
    """SHA-256 of the version's sample list."""
    training: TrainingConfig

    @property
    def digest(self) -> str:
        """The name of the work. The label and the location of the parent do not count."""
        facts = self.model_dump_json(exclude={"name": True, "parent": {"folder"}, "version": True})
        return derive_key(self.KIND, facts)


class RemoverTraining(RemoverWork):
    """A training on the triplets of a version."""

    KIND: ClassVar[str] = "remover training"
    loss: RemoverLossConfig
    sampling: SamplingConfig


class TrainedRemover(TrainedModel):
    """A trained remover and its losses."""

    KIND: ClassVar[ResultKind] = "remover_training"

    remover: RemoverRef
    losses: TrainingLosses

    @property
    def weights_folder(self) -> str:
        """See ``TrainedModel``."""
        return self.remover.folder


def train_remover(
    workspace: Workspace,
    work: RemoverTraining,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> TrainedRemover:
    """Fine-tune the parent on the version, as ``run_training`` does.

    Returns:
        The remover. The ledger records it; it is not promoted.
    """
    distributed = distributed or DistributedConfig()

    def fit(checkpoint: Path) -> tuple[InpaintingNetwork, list[float]]:
        network = network_at(workspace.fetched(work.parent.folder)).to(training_device())

        def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
            return remover_loss(network, batch, work.loss, batch_slice)

        with version_reader(workspace, work.version) as data:
            batches = remover_batches(workspace, data, work.training, distributed, network.vae)
            losses = train(network.unet, loss_of, batches, work.training, checkpoint, progress, distributed)
        return network.to("cpu"), losses

    def keep(fitted: tuple[InpaintingNetwork, list[float]]) -> TrainedRemover:
        network, losses = fitted
        return keep_remover(workspace, work, work.sampling, network.save, losses)

    again = partial(train_remover, workspace, work, distributed=distributed)
    processes = Processes(distributed.processes, again, progress)
    return run_training(workspace, work.digest, TrainedRemover, fit, keep, processes)


def remover_batches(
    workspace: Workspace,
    data: VersionData,
    training: TrainingConfig,
    distributed: DistributedConfig,
    vae: Any,
) -> BatchesFrom:
    """Batches of a version's training triplets, drawn as `training_triplets` says.

    Several sizes come with RORem's final stage, at high resolution.

    Raises:
        ModelError: If latents shall be cached and cannot be written.
        ShardError: If the size of a sample cannot be read.
    """
    triplets, drawn_from = training_triplets(data)
    draws = (drawn_from, training.batch_size, training.seed, distributed.loader_workers)
    if not distributed.cache_latents:
        return triplet_batches(triplets, *draws)
    rows = zip(data.rows.shard_of.tolist(), data.rows.keys.tolist(), strict=True)
    origins = [(data.refs[shard].sha256, key.decode()) for shard, key in rows]
    return latent_batches(cached_latents(workspace, triplets, origins, vae), *draws)


def keep_remover(
    workspace: Workspace,
    work: RemoverWork,
    sampling: SamplingConfig,
    save: Callable[[Path], None],
    losses: list[float],
    distilled: bool = False,
) -> TrainedRemover:
    """Keep the weights and record them as a remover.

    Args:
        workspace: The workspace to write to.
        work: Names the weights.
        sampling: How the remover samples its removals.
        save: Writes the network into the folder it gets.
        losses: The loss of each step.
        distilled: Whether it learnt from its parent's removals.
    """
    folder = keep_model(workspace, work.digest, save)
    remover = InpaintingRemover(network_at(folder), sampling)
    entry = record(
        workspace,
        kind="remover",
        model_hash=remover.model_hash,
        folder=folder,
        parent=work.parent.hash,
        dataset_version=work.version,
        metrics={"loss": sum(losses[-20:]) / len(losses[-20:])},
        settings=work.model_dump(mode="json", include={"training", "loss", "lora", "sampling"}),
        distilled=distilled,
    )
    ref = RemoverRef(hash=entry.hash, folder=entry.path, sampling=sampling)
    return TrainedRemover(remover=ref, losses=TrainingLosses.of(losses))


@task(task_run_name="train remover: {work.name}")
def retrain(workspace: Workspace, work: RemoverTraining, distributed: DistributedConfig) -> TrainedRemover:
    """Fine-tune a remover, with a progress bar in the terminal and in Prefect."""
    with training_progress(f"training {work.name}") as progress:
        arguments = (work, progress, distributed)
        return run_shard(INLINE, workspace, "train remover", work.digest, train_remover, *arguments)
