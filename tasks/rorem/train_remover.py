"""Retrain the remover on a dataset version (papers.md, facts 1 to 3 and 6)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from prefect import task

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.result import ResultKind
from data_specs.version import VersionSample
from models.diffusion.inpainting import InpaintingNetwork
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.distributed import BatchSlice, DistributedConfig, training_device
from models.training.loop import BatchesFrom, Progress, TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.execution import INLINE, run_shard
from tasks.registry.removers import RemoverRef
from tasks.registry.store import keep_model, network_at, record
from tasks.storage.dataset.versions import load_samples
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import SizeBuckets, TripletSamples, size_buckets, triplet_batches
from tasks.training.latent_cache import cached_latents, latent_batches
from tasks.training.progress import training_progress
from tasks.training.run import Processes, TrainedModel, TrainingWork, run_training


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
    """A trained remover and the loss of each step."""

    KIND: ClassVar[ResultKind] = "remover_training"

    remover: RemoverRef
    losses: list[float]

    @property
    def weights_folder(self) -> str:
        """See ``TrainedModel``."""
        return self.remover.folder


def training_groups(samples: Sequence[VersionSample]) -> tuple[list[str], list[range]]:
    """Training keys in order, and the groups that share every batch: initial triplets and grown triplets.

    Every batch is half initial and half grown. Early growth is then not lost among the initial triplets, nor
    the captured pairs among later growth.

    Raises:
        FlowError: If there is no triplet to train on.
    """
    initial = [s.key for s in samples if s.split == "train" and s.stage == "triplets"]
    grown = [s.key for s in samples if s.split == "train" and s.stage == "grown"]
    bounds = [range(len(initial)), range(len(initial), len(initial) + len(grown))]
    groups = [group for group in bounds if len(group)]
    if not groups:
        raise FlowError("the dataset version has no training sample; ingest a source first")
    return initial + grown, groups


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

        with version_reader(workspace, work.version) as (reader, samples):
            batches = remover_batches(workspace, reader, samples, work.training, distributed, network.vae)
            losses = train(network.unet, loss_of, batches, work.training, checkpoint, progress, distributed)
        return network.to("cpu"), losses

    def keep(fitted: tuple[InpaintingNetwork, list[float]]) -> TrainedRemover:
        network, losses = fitted
        return keep_remover(workspace, work, work.sampling, network.save, losses)

    again = partial(train_remover, workspace, work, distributed=distributed)
    processes = Processes(distributed.processes, again, progress)
    return run_training(workspace, work.digest, TrainedRemover, fit, keep, processes)


@contextmanager
def version_reader(
    workspace: Workspace, version: int
) -> Iterator[tuple[ShardReader, Sequence[VersionSample]]]:
    """A dataset version's samples and their reader."""
    samples = load_samples(workspace, version)
    refs = [workspace.ledger().shards.named(name) for name in sorted({s.shard for s in samples})]
    with ShardReader(workspace, refs) as reader:
        yield reader, samples


def remover_batches(
    workspace: Workspace,
    reader: ShardReader,
    samples: Sequence[VersionSample],
    training: TrainingConfig,
    distributed: DistributedConfig,
    vae: Any,
) -> BatchesFrom:
    """Batches of a version's training triplets. If these have several sizes, each batch has one size.

    With one size, every batch is half initial and half grown. With several sizes, as in RORem's final stage
    at high resolution, every epoch shows every sample once.

    Raises:
        FlowError: If there are no triplets.
        ModelError: If latents shall be cached and cannot be written.
        ShardError: If the size of a sample cannot be read.
    """
    keys, groups = training_groups(samples)
    triplets, buckets = TripletSamples(reader, keys), size_buckets(reader, keys)
    drawn_from = groups if len(buckets) == 1 else SizeBuckets(buckets)
    draws = (drawn_from, training.batch_size, training.seed, distributed.loader_workers)
    if not distributed.cache_latents:
        return triplet_batches(triplets, *draws)
    digests = {
        name: workspace.ledger().shards.named(name).sha256 for name in {sample.shard for sample in samples}
    }
    origins = {sample.key: digests[sample.shard] for sample in samples}
    return latent_batches(
        cached_latents(workspace, triplets, [(origins[key], key) for key in keys], vae), *draws
    )


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
    return TrainedRemover(remover=ref, losses=losses)


@task(task_run_name="train remover: {work.name}")
def retrain(workspace: Workspace, work: RemoverTraining, distributed: DistributedConfig) -> TrainedRemover:
    """Fine-tune a remover, with a progress bar in the terminal and in Prefect."""
    with training_progress(f"training {work.name}") as progress:
        arguments = (work, progress, distributed)
        return run_shard(INLINE, workspace, "train remover", work.digest, train_remover, *arguments)
