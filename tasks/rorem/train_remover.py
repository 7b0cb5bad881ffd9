"""Retrain the remover on a dataset version (papers.md, facts 1 to 3 and 6)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from prefect import task
from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.version import VersionSample
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.distributed import DistributedConfig, Share, first_process_first, training_device
from models.training.loop import BatchesFrom, Progress, TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.execution import INLINE, run_shard
from tasks.registry.removers import RemoverRef
from tasks.registry.store import drop_checkpoint, keep_model, network_at, record
from tasks.storage.dataset.versions import load_samples
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import SizeBuckets, TripletSamples, size_buckets, triplet_batches
from tasks.training.latent_cache import cached_latents, latent_batches
from tasks.training.progress import training_progress


class RemoverTraining(BaseModel):
    """Everything that decides a remover's weights."""

    model_config = ConfigDict(frozen=True)

    name: str
    """A label for people: ``initialisation``, ``human 1`` …"""
    parent: RemoverRef
    version: int
    version_sha256: str
    """SHA-256 of the version's sample list."""
    training: TrainingConfig
    loss: RemoverLossConfig
    sampling: SamplingConfig

    @property
    def digest(self) -> str:
        """The name of the work. The label and the location of the parent do not count."""
        facts = self.model_dump_json(exclude={"name": True, "parent": {"folder"}, "version": True})
        return derive_key("remover training", facts)


class RemoverWork(Protocol):
    """What names a trained remover, and how it is trained: on triplets, or from a teacher."""

    @property
    def digest(self) -> str:
        """The name of the work."""
        ...

    @property
    def parent(self) -> RemoverRef:
        """The remover that training starts from, or learns from."""
        ...

    @property
    def version(self) -> int:
        """The version of the dataset."""
        ...

    @property
    def sampling(self) -> SamplingConfig:
        """How the remover samples its removals."""
        ...


class Trained(BaseModel):
    """A trained model and the loss of each step."""

    model_config = ConfigDict(frozen=True)

    remover: RemoverRef
    losses: list[float]


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
) -> Trained:
    """Fine-tune the parent on the version. Continues from its checkpoint after a kill.

    If a launcher starts it in several processes, they train together and the first one keeps the result.

    Returns:
        The remover. The ledger records it; it is not promoted.
    """
    known = known_training(workspace, work)
    if known is not None:
        return known
    distributed = distributed or DistributedConfig()
    network = network_at(workspace.fetched(work.parent.folder)).to(training_device())

    def loss_of(batch: TripletBatch, share: Share) -> torch.Tensor:
        return remover_loss(network, batch, work.loss, share)

    with version_reader(workspace, work.version) as (reader, samples):
        batches = remover_batches(workspace, reader, samples, work.training, distributed, network.vae)
        checkpoint = checkpoint_of(workspace, work)
        losses = train(network.unet, loss_of, batches, work.training, checkpoint, progress, distributed)
    network.to("cpu")
    with first_process_first():
        return known_training(workspace, work) or keep_trained(workspace, work, network.save, losses)


@contextmanager
def version_reader(
    workspace: Workspace, version: int
) -> Iterator[tuple[ShardReader, Sequence[VersionSample]]]:
    """A dataset version's samples and their reader."""
    samples = load_samples(workspace, version)
    refs = [workspace.ledger().shard(name) for name in sorted({s.shard for s in samples})]
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
    digests = {name: workspace.ledger().shard(name).sha256 for name in {each.shard for each in samples}}
    origins = {each.key: digests[each.shard] for each in samples}
    return latent_batches(
        cached_latents(workspace, triplets, [(origins[key], key) for key in keys], vae), *draws
    )


def checkpoint_of(workspace: Workspace, work: RemoverWork) -> Path:
    """The path where a training keeps its state."""
    return workspace.models_dir / f"{work.digest}.checkpoint.safetensors"


def known_training(workspace: Workspace, work: RemoverWork) -> Trained | None:
    """The training as the ledger records it, if its weights still exist. Else None."""
    known = workspace.ledger().result("remover_training", work.digest, Trained)
    if known is None or not workspace.fetched(known.remover.folder).is_dir():
        return None
    drop_checkpoint(checkpoint_of(workspace, work))
    return known


def keep_trained(
    workspace: Workspace,
    work: RemoverWork,
    save: Callable[[Path], None],
    losses: list[float],
    distilled: bool = False,
) -> Trained:
    """Keep the weights, record them in the ledger, and delete the checkpoint.

    Args:
        workspace: The workspace to write to.
        work: Names the weights.
        save: Writes the network into the folder it gets.
        losses: The loss of each step.
        distilled: Whether it learnt from its parent's removals.
    """
    folder = keep_model(workspace, work.digest, save)
    remover = InpaintingRemover(network_at(folder), work.sampling)
    entry = record(
        workspace,
        kind="remover",
        model_hash=remover.model_hash,
        folder=folder,
        parent=work.parent.hash,
        dataset_version=work.version,
        metrics={"loss": sum(losses[-20:]) / len(losses[-20:])},
        settings=cast(BaseModel, work).model_dump(
            mode="json", include={"training", "loss", "lora", "sampling"}
        ),
        distilled=distilled,
    )
    ref = RemoverRef(hash=entry.hash, folder=entry.path, sampling=work.sampling)
    trained = Trained(remover=ref, losses=losses)
    workspace.ledger().record_result("remover_training", work.digest, trained)
    drop_checkpoint(checkpoint_of(workspace, work))
    return trained


@task(task_run_name="train remover: {work.name}")
def retrain(workspace: Workspace, work: RemoverTraining) -> Trained:
    """Fine-tune a remover, with a progress bar in the terminal and in Prefect."""
    with training_progress(f"training {work.name}") as progress:
        return run_shard(INLINE, workspace, "train remover", work.digest, train_remover, work, progress)
