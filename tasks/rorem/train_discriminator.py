"""Train the discriminator on reviews, and its voters on known truth too (papers.md, fact 5)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

import torch
from prefect import task
from pydantic import BaseModel, ConfigDict

from data_specs.arrays import Mask, RgbImage
from data_specs.candidate import Candidate
from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.losses import TrainingLosses
from data_specs.result import ResultKind
from data_specs.shard import ShardRef
from models.diffusion.inpainting import InpaintingNetwork
from models.rorem.discriminator import (
    DiscriminatorConfig,
    DiscriminatorNetwork,
    LoraDiscriminator,
    load_discriminator,
    statistics_of,
)
from models.rorem.discriminator_heads import Voters, fit_voters
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
from tasks.rorem.labelled_pairs import LabelledPairs, labels_of
from tasks.storage.shards import ShardReader, candidate_items, decode_candidates
from tasks.storage.workspace import Workspace, items_of
from tasks.training.data import Groups, ReviewSamples, SizeBuckets, review_batches, size_buckets
from tasks.training.progress import training_progress
from tasks.training.run import Processes, TrainedModel, TrainingWork, run_training

_MIN_OF_EACH = 10
"""The fewest YES and the fewest NO to train on."""
_PROPOSALS_AT_ONCE = 64
"""Proposals whose candidates are in memory together while statistics are computed."""


class DiscriminatorTraining(TrainingWork):
    """Everything that decides a discriminator's weights."""

    backbone: RemoverRef
    """The network whose down and mid blocks the discriminator reuses."""
    candidates: tuple[ShardRef, ...]
    """The reviewed shards of all human rounds so far."""
    discriminator: DiscriminatorConfig
    training: TrainingConfig
    held_out_items: tuple[str, ...]
    """Pool items whose reviews do not train, because they will calibrate."""
    pairs: LabelledPairs | None = None
    """Candidates whose labels follow from known truth. They teach the voters beside people's answers."""

    @property
    def digest(self) -> str:
        """The name of the config. The work is the config and the answers in the ledger."""
        without: dict[str, bool | set[str]] = {"name": True, "backbone": {"folder"}}
        if self.pairs is None:
            without["pairs"] = True
        return derive_key("judge training", self.model_dump_json(exclude=without))


class DiscriminatorRef(BaseModel):
    """A discriminator by name and location."""

    model_config = ConfigDict(frozen=True)

    hash: str
    folder: str
    backbone: RemoverRef


class TrainedDiscriminator(TrainedModel):
    """A trained discriminator and its losses."""

    KIND: ClassVar[ResultKind] = "discriminator_training"

    discriminator: DiscriminatorRef
    reviewed: int
    """Answers in training and calibration."""
    losses: TrainingLosses
    calibrated: bool = True
    """False between training and calibration: scores then tell an order and no probability."""
    pure_threshold: float | None = None
    """Score above which the kept ones together are as pure as was asked. None: none is certified."""

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
    """The newest calibrated one whose weights still exist, copied here if needed. None before the first."""
    trainings = workspace.ledger().results.newest_first("discriminator_training", TrainedDiscriminator)
    discriminators = (training.discriminator for training in trainings if training.calibrated)
    return next((ref for ref in discriminators if workspace.fetched(ref.folder).is_dir()), None)


Answer = tuple[str, str, bool]
"""Candidate, item, and whether it is YES."""


def train_from_reviews(
    workspace: Workspace,
    work: DiscriminatorTraining,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> TrainedDiscriminator:
    """Train on the reviews in the ledger, as ``run_training`` does. It is not calibrated yet.

    Raises:
        FlowError: If there are too few YES or NO.
    """
    distributed = distributed or DistributedConfig()
    with ShardReader(workspace, work.candidates) as reader:
        held_out = set(work.held_out_items)
        answers = [answer for answer in answers_to(workspace, work.candidates) if answer[1] not in held_out]
        _check_enough(answers)
        # Other answers to the same candidates are different work.
        digest = derive_key(work.digest, *(f"{key} {yes}" for key, _, yes in answers))

        def fit(checkpoint: Path) -> Fitted:
            return _fit(workspace, work, reader, answers, checkpoint, progress, distributed)

        def keep(fitted: Fitted) -> TrainedDiscriminator:
            network, module, voters, losses = fitted
            for part in (network, module):
                part.to("cpu")
            discriminator = LoraDiscriminator(module, work.discriminator, voters)
            ref = keep_discriminator(workspace, digest, discriminator, work.backbone, len(answers), work)
            return TrainedDiscriminator(
                discriminator=ref,
                reviewed=len(answers),
                losses=TrainingLosses.of(losses),
                calibrated=False,
            )

        again = partial(train_from_reviews, workspace, work, distributed=distributed)
        processes = Processes(distributed.processes, again, progress)
        return run_training(workspace, digest, TrainedDiscriminator, fit, keep, processes)


Fitted = tuple[InpaintingNetwork, DiscriminatorNetwork, Voters | None, list[float]]
"""The backbone, the trained module, the voters, and the loss of each step."""


def answers_to(workspace: Workspace, refs: Sequence[ShardRef]) -> list[Answer]:
    """What was decided about the training candidates of some shards. Skips are left out."""
    ledger = workspace.ledger()
    items, keys = candidate_items(workspace, refs), items_of(workspace, refs, "train")
    decided = {key: d == "yes" for key, d in ledger.reviews.decisions(keys).items() if d != "skip"}
    return [(key, items[key], decided[key]) for key in keys if key in decided]


def _check_enough(answers: Sequence[Answer]) -> None:
    yes = sum(good for _, _, good in answers)
    if min(yes, len(answers) - yes) < _MIN_OF_EACH:
        raise FlowError(
            f"the discriminator needs {_MIN_OF_EACH} YES and {_MIN_OF_EACH} NO to train on, but there are "
            f"{yes} and {len(answers) - yes}; review more items"
        )


def _fit(
    workspace: Workspace,
    work: DiscriminatorTraining,
    reader: ShardReader,
    answers: Sequence[Answer],
    checkpoint: Path,
    progress: Progress | None,
    distributed: DistributedConfig,
) -> Fitted:
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
    return network, module, _fit_voters(workspace, work, reader, answers), losses


def _fit_voters(
    workspace: Workspace, work: DiscriminatorTraining, reader: ShardReader, answers: Sequence[Answer]
) -> Voters | None:
    """Voters that learnt from people's answers and from known truth, each label with the same weight."""
    if not work.discriminator.voters:
        return None
    labels = {key: yes for key, _, yes in answers}
    parts = [_statistics(workspace, work.candidates, reader, labels)]
    good = list(labels.values())
    if work.pairs is not None:
        by_truth = labels_of(workspace, work.pairs)
        with ShardReader(workspace, work.pairs.candidates) as pairs:
            parts.append(_statistics(workspace, work.pairs.candidates, pairs, by_truth))
        good += by_truth.values()
    return fit_voters(torch.cat(parts), good, work.discriminator.voters, work.training.seed)


def _statistics(
    workspace: Workspace, refs: Sequence[ShardRef], reader: ShardReader, labels: Mapping[str, bool]
) -> torch.Tensor:
    """Statistics of the labelled candidates, N×K, each compared with all of its item's candidates."""
    candidates_of: dict[str, list[str]] = {}
    for key, item in candidate_items(workspace, refs).items():
        candidates_of.setdefault(item, []).append(key)
    wanted = [keys for keys in candidates_of.values() if any(key in labels for key in keys)]
    numbers: dict[str, torch.Tensor] = {}
    for start in range(0, len(wanted), _PROPOSALS_AT_ONCE):
        keys = [key for group in wanted[start : start + _PROPOSALS_AT_ONCE] for key in group]
        shown = list(decode_candidates(reader.by_key(key) for key in keys))
        measured = statistics_of(*score_arguments(shown), training_device())
        numbers.update(zip(keys, measured, strict=True))
    return torch.stack([numbers[key] for key in labels])


def score_arguments(
    shown: Sequence[Candidate],
) -> tuple[list[RgbImage], list[Mask], list[RgbImage], list[str]]:
    """Candidates as ``Discriminator.score`` takes them."""
    return (
        [c.source for c in shown],
        [c.mask for c in shown],
        [c.removal for c in shown],
        [c.proposal for c in shown],
    )


def _drawn_from(reader: ShardReader, answers: Sequence[Answer]) -> tuple[ReviewSamples, Groups]:
    """Samples with YES first, and the two groups that share every batch.

    If images have several sizes, each batch has one size and the groups are not balanced.
    """
    ordered = [(key, yes) for wanted in (True, False) for key, _, yes in answers if yes is wanted]
    yes = sum(good for _, good in ordered)
    sizes = size_buckets(reader, reader.positions_of([key for key, _ in ordered]))
    halves: Groups = [range(yes), range(yes, len(ordered))]
    return ReviewSamples(reader, ordered), SizeBuckets(sizes) if len(sizes) > 1 else halves


def keep_discriminator(
    workspace: Workspace,
    digest: str,
    discriminator: LoraDiscriminator,
    backbone: RemoverRef,
    reviewed: int,
    settings: BaseModel,
) -> DiscriminatorRef:
    """Save a discriminator under its work's digest and enter it in the registry."""
    folder = keep_model(workspace, digest, discriminator.save)
    entry = record(
        workspace,
        kind="discriminator",
        model_hash=discriminator.model_hash,
        folder=folder,
        parent=backbone.hash,
        dataset_version=None,
        metrics={"slope": discriminator.slope, "offset": discriminator.offset, "reviewed": float(reviewed)},
        settings=settings.model_dump(mode="json", include={"discriminator", "training"}),
    )
    return DiscriminatorRef(hash=entry.hash, folder=entry.path, backbone=backbone)


@task(task_run_name="train {work.name}")
def train_discriminator(
    workspace: Workspace, work: DiscriminatorTraining, distributed: DistributedConfig
) -> TrainedDiscriminator:
    """Train a discriminator, with a progress bar in the terminal and in Prefect."""
    with training_progress(f"training {work.name}") as progress:
        arguments = (work, progress, distributed)
        return run_shard(
            INLINE, workspace, "train discriminator", work.digest, train_from_reviews, *arguments
        )
