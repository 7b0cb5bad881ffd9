"""Retrain the remover on a dataset version (RORem, stages 1 to 3)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from prefect import task
from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.version import VersionSample
from models.inpainting import InpaintingNetwork
from models.remover import InpaintingRemover, SamplingConfig
from models.training.loop import Progress, TrainingConfig, train
from models.training.remover_loss import RemoverLossConfig, TripletBatch, remover_loss
from models.training.running import RunningConfig, first_process_first, training_device
from models.training.share import Share
from tasks.dataset.versions import load_samples
from tasks.latent_cache import cached_latents, latent_batches
from tasks.model_store import drop_checkpoint, keep_model, network_at, record
from tasks.propose import RemoverRef
from tasks.shards import ShardReader
from tasks.training_data import TripletSamples, triplet_batches
from tasks.training_progress import training_progress
from tasks.workspace import Workspace


class RemoverTraining(BaseModel):
    """All that decides a remover's weights."""

    model_config = ConfigDict(frozen=True)

    name: str
    """For people: ``initialisation``, ``human 1`` …"""
    parent: RemoverRef
    version: int
    version_sha256: str
    """Of the version's sample list."""
    training: TrainingConfig
    loss: RemoverLossConfig
    sampling: SamplingConfig

    @property
    def digest(self) -> str:
        """Names the work; the name for people and the parent's place do not count."""
        facts = self.model_dump_json(exclude={"name": True, "parent": {"folder"}, "version": True})
        return derive_key("remover training", facts)


class Trained(BaseModel):
    """A trained model and its loss at each step."""

    model_config = ConfigDict(frozen=True)

    remover: RemoverRef
    losses: list[float]


def training_groups(samples: Sequence[VersionSample]) -> tuple[list[str], list[range]]:
    """Training keys in order, and the groups each batch is shared between: initial and grown triplets.

    Half initial, half grown in every batch: early growth is not drowned by what was there before, nor
    the captured pairs by later growth.

    Raises:
        FlowError: If there is nothing to train on.
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
    running: RunningConfig | None = None,
) -> Trained:
    """Fine-tune the parent on the version; goes on from its checkpoint after a kill.

    Started by a launcher in several processes, they train together and the first one keeps the result.

    Returns:
        The remover, recorded in the ledger but not promoted.
    """
    phase = f"training {work.digest}"
    checkpoint = workspace.models_dir / f"{work.digest}.checkpoint.safetensors"
    known = _known(workspace, phase, checkpoint)
    if known is not None:
        return known
    running = running or RunningConfig()
    samples = load_samples(workspace, work.version)
    keys, groups = training_groups(samples)
    network = network_at(workspace.root / work.parent.folder).to(training_device())
    refs = [workspace.ledger().shard(name) for name in sorted({s.shard for s in samples})]

    def loss_of(batch: TripletBatch, share: Share) -> torch.Tensor:
        return remover_loss(network, batch, work.loss, share)

    with ShardReader(workspace, refs) as reader:
        triplets = TripletSamples(reader, keys)
        draws = (groups, work.training.batch_size, work.training.seed, running.loader_workers)
        if running.cache_latents:
            digests = {ref.name: ref.sha256 for ref in refs}
            origins = {each.key: digests[each.shard] for each in samples}
            latents = cached_latents(workspace, triplets, [(origins[key], key) for key in keys], network.vae)
            batches = latent_batches(latents, *draws)
        else:
            batches = triplet_batches(triplets, *draws)
        losses = train(network.unet, loss_of, batches, work.training, checkpoint, progress, running)
    network.to("cpu")
    with first_process_first():
        return _known(workspace, phase, checkpoint) or _kept(
            workspace, work, network, losses, phase, checkpoint
        )


def _known(workspace: Workspace, phase: str, checkpoint: Path) -> Trained | None:
    """The training as the ledger knows it, if its weights are still there."""
    known = workspace.ledger().phase("trainings", phase)
    if known is None or not (workspace.root / known["remover"]["folder"]).is_dir():
        return None
    drop_checkpoint(checkpoint)
    return Trained.model_validate(known)


def _kept(
    workspace: Workspace,
    work: RemoverTraining,
    network: InpaintingNetwork,
    losses: list[float],
    phase: str,
    checkpoint: Path,
) -> Trained:
    folder = keep_model(workspace, work.digest, network.save)
    remover = InpaintingRemover(network, work.sampling)
    entry = record(
        workspace,
        kind="remover",
        model_hash=remover.model_hash,
        folder=folder,
        parent=work.parent.hash,
        dataset_version=work.version,
        metrics={"loss": sum(losses[-20:]) / len(losses[-20:])},
        settings=work.model_dump(mode="json", include={"training", "loss", "sampling"}),
    )
    ref = RemoverRef(hash=entry.hash, folder=entry.path, sampling=work.sampling)
    trained = Trained(remover=ref, losses=losses)
    workspace.ledger().record_phase("trainings", phase, trained.model_dump(mode="json"))
    drop_checkpoint(checkpoint)
    return trained


@task(task_run_name="train remover: {work.name}")
def retrain(workspace: Workspace, work: RemoverTraining) -> Trained:
    """Fine-tune a remover, with a progress bar here and in Prefect."""
    with training_progress(f"training {work.name}") as progress:
        return train_remover(workspace, work, progress)
