"""Train the discriminator on reviews, and calibrate it on other reviews (papers.md, fact 5)."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

import torch
from prefect import task
from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.result import ResultKind
from data_specs.shard import ShardRef
from models.diffusion.inpainting import InpaintingNetwork
from models.rorem.calibration import fit_platt
from models.rorem.discriminator import (
    DiscriminatorConfig,
    DiscriminatorNetwork,
    LoraDiscriminator,
    load_discriminator,
)
from models.training.distributed import (
    BatchSlice,
    DistributedConfig,
    refuse_cached_latents,
    training_device,
)
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.discriminator import ReviewBatch, discriminator_loss
from tasks.execution import INLINE, run_shard
from tasks.registry.removers import RemoverRef
from tasks.registry.store import keep_model, network_at, record, shared_network_at
from tasks.storage.shards import ShardReader, candidate_items, decode_candidate
from tasks.storage.workspace import Workspace, items_of
from tasks.training.data import Groups, ReviewSamples, SizeBuckets, review_batches, size_buckets
from tasks.training.progress import training_progress
from tasks.training.run import Processes, TrainedModel, TrainingWork, run_training

_MIN_OF_EACH = 20
"""The fewest YES and the fewest NO. With fewer, neither training nor calibration works."""


class DiscriminatorTraining(TrainingWork):
    """Everything that decides a discriminator's weights and calibration."""

    backbone: RemoverRef
    """The network whose down and mid blocks the discriminator reuses."""
    candidates: tuple[ShardRef, ...]
    """The reviewed shards of all human rounds so far."""
    discriminator: DiscriminatorConfig
    training: TrainingConfig
    held_out_items: tuple[str, ...]
    """Pool items whose reviews calibrate and do not train. The best choice is items of the remover to be
    scored: a better remover than the one of the training reviews succeeds more often than its scores say."""

    @property
    def digest(self) -> str:
        """The name of the config. The work is the config and the answers in the ledger."""
        return derive_key(
            "judge training", self.model_dump_json(exclude={"name": True, "backbone": {"folder"}})
        )


class DiscriminatorRef(BaseModel):
    """A discriminator by name and location."""

    model_config = ConfigDict(frozen=True)

    hash: str
    folder: str
    backbone: RemoverRef


class TrainedDiscriminator(TrainedModel):
    """A trained discriminator and the loss of each step."""

    KIND: ClassVar[ResultKind] = "discriminator_training"

    discriminator: DiscriminatorRef
    reviewed: int
    losses: list[float]

    @property
    def weights_folder(self) -> str:
        """See ``TrainedModel``."""
        return self.discriminator.folder


def open_discriminator(workspace: Workspace, ref: DiscriminatorRef) -> LoraDiscriminator:
    """The discriminator of a ref, on its backbone. It is loaded once for each process."""
    return _discriminator_at(workspace.fetched(ref.folder), workspace.fetched(ref.backbone.folder))


@lru_cache(maxsize=2)
def _discriminator_at(folder: Path, backbone: Path) -> LoraDiscriminator:
    return load_discriminator(folder, shared_network_at(backbone))


def newest_discriminator(workspace: Workspace) -> DiscriminatorRef | None:
    """The newest discriminator whose weights still exist, copied here if needed. None before the first."""
    trainings = reversed(workspace.ledger().results.all("discriminator_training", TrainedDiscriminator))
    discriminators = (training.discriminator for training in trainings)
    return next((ref for ref in discriminators if workspace.fetched(ref.folder).is_dir()), None)


Answer = tuple[str, str, bool]
"""Candidate, item, and whether it is YES."""


def split_answers(answers: Sequence[Answer], held_out: set[str]) -> tuple[list[int], list[int]]:
    """Positions that train and positions that calibrate. The candidates of one item stay together.

    Args:
        answers: The decided candidates.
        held_out: Items that calibrate.
    """
    held = [item in held_out for _, item, _ in answers]
    return [i for i, h in enumerate(held) if not h], [i for i, h in enumerate(held) if h]


def train_from_reviews(
    workspace: Workspace,
    work: DiscriminatorTraining,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> TrainedDiscriminator:
    """Train on the reviews in the ledger, as ``run_training`` does.

    Raises:
        FlowError: If there are too few YES or NO, or too few items to hold some out.
    """
    distributed = distributed or DistributedConfig()
    with ShardReader(workspace, work.candidates) as reader:
        answers = _answers(workspace, work.candidates)
        fitting, held = split_answers(answers, set(work.held_out_items))
        # Other answers to the same candidates are different work.
        digest = derive_key(work.digest, *(f"{key} {yes}" for key, _, yes in answers))

        def fit(checkpoint: Path) -> tuple[InpaintingNetwork, DiscriminatorNetwork, list[float]]:
            if len({answers[i][2] for i in fitting}) < 2 or not held:
                raise FlowError(
                    "too few items have an answer to train and to calibrate the discriminator; review more "
                    "items"
                )
            return _fit(
                workspace, work, reader, [answers[i] for i in fitting], checkpoint, progress, distributed
            )

        def keep(
            fitted: tuple[InpaintingNetwork, DiscriminatorNetwork, list[float]],
        ) -> TrainedDiscriminator:
            network, module, losses = fitted
            discriminator = LoraDiscriminator(module.to(training_device()), work.discriminator)
            _calibrate(discriminator, reader, [answers[i] for i in held])
            for part in (network, module):
                part.to("cpu")
            return _keep(workspace, work, digest, discriminator, len(answers), losses)

        again = partial(train_from_reviews, workspace, work, distributed=distributed)
        processes = Processes(distributed.processes, again, progress)
        return run_training(workspace, digest, TrainedDiscriminator, fit, keep, processes)


def _answers(workspace: Workspace, refs: Sequence[ShardRef]) -> list[Answer]:
    """Every decided training candidate, in the shards' order, no skips."""
    items = candidate_items(workspace, refs)
    keys = items_of(workspace, refs, "train")
    decisions = workspace.ledger().reviews.decisions(keys)
    decided = {key: decision == "yes" for key, decision in decisions.items() if decision != "skip"}
    answers = [(key, items[key], decided[key]) for key in keys if key in decided]
    yes = sum(good for _, _, good in answers)
    if min(yes, len(answers) - yes) < _MIN_OF_EACH:
        raise FlowError(
            f"the discriminator needs {_MIN_OF_EACH} YES and {_MIN_OF_EACH} NO, but there are {yes} "
            f"and {len(answers) - yes}; review more items"
        )
    return answers


def _fit(
    workspace: Workspace,
    work: DiscriminatorTraining,
    reader: ShardReader,
    answers: Sequence[Answer],
    checkpoint: Path,
    progress: Progress | None,
    distributed: DistributedConfig,
) -> tuple[InpaintingNetwork, DiscriminatorNetwork, list[float]]:
    """The backbone, the trained module and the loss of each step."""
    refuse_cached_latents(distributed, "the discriminator draws other colours of a candidate each time")
    network = network_at(workspace.fetched(work.backbone.folder))
    module = DiscriminatorNetwork(network, work.discriminator, work.training.seed)
    network.to(training_device())
    samples, groups = _drawn_from(reader, answers)
    batches = review_batches(
        samples, groups, work.training.batch_size, work.training.seed, distributed.loader_workers
    )

    def loss_of(batch: ReviewBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return discriminator_loss(module, batch, batch_slice)

    losses = train(module, loss_of, batches, work.training, checkpoint, progress, distributed)
    return network, module, losses


def _drawn_from(reader: ShardReader, answers: Sequence[Answer]) -> tuple[ReviewSamples, Groups]:
    """Samples with YES first, and the two groups that share every batch.

    If images have several sizes, each batch has one size and the groups are not balanced.
    """
    ordered = [(key, yes) for wanted in (True, False) for key, _, yes in answers if yes is wanted]
    yes = sum(good for _, good in ordered)
    sizes = size_buckets(reader, [key for key, _ in ordered])
    halves: Groups = [range(yes), range(yes, len(ordered))]
    return ReviewSamples(reader, ordered), SizeBuckets(sizes) if len(sizes) > 1 else halves


def _calibrate(discriminator: LoraDiscriminator, reader: ShardReader, answers: Sequence[Answer]) -> None:
    candidates = [decode_candidate(reader.by_key(key)) for key, _, _ in answers]
    logits = discriminator.logits(
        [c.source for c in candidates], [c.mask for c in candidates], [c.removal for c in candidates]
    )
    discriminator.slope, discriminator.offset = fit_platt(logits, [yes for _, _, yes in answers])


def _keep(
    workspace: Workspace,
    work: DiscriminatorTraining,
    digest: str,
    discriminator: LoraDiscriminator,
    reviewed: int,
    losses: list[float],
) -> TrainedDiscriminator:
    folder = keep_model(workspace, digest, discriminator.save)
    entry = record(
        workspace,
        kind="discriminator",
        model_hash=discriminator.model_hash,
        folder=folder,
        parent=work.backbone.hash,
        dataset_version=None,
        metrics={"slope": discriminator.slope, "offset": discriminator.offset, "reviewed": float(reviewed)},
        settings=work.model_dump(mode="json", include={"discriminator", "training"}),
    )
    ref = DiscriminatorRef(hash=entry.hash, folder=entry.path, backbone=work.backbone)
    return TrainedDiscriminator(discriminator=ref, reviewed=reviewed, losses=losses)


@task(task_run_name="train {work.name}")
def train_discriminator(
    workspace: Workspace, work: DiscriminatorTraining, distributed: DistributedConfig
) -> TrainedDiscriminator:
    """Train and calibrate a discriminator, with a progress bar in the terminal and in Prefect."""
    with training_progress(f"training {work.name}") as progress:
        arguments = (work, progress, distributed)
        return run_shard(
            INLINE, workspace, "train discriminator", work.digest, train_from_reviews, *arguments
        )
