"""What a round is made of: sizes, thresholds and trainings, shared by the round's form and the cycle's."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.assessment import QualityConfig
from data_specs.keys import Split, derive_key
from data_specs.review_batch import QueuePolicy
from data_specs.shard import ImageFormat
from models.images.mask_variants import MaskVariant
from models.profiles import FromProfile, Profiled, from_profile
from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig, check_division
from models.training.loop import TrainingConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.execution import INLINE, WorkersConfig
from tasks.review.oracle import OracleConfig
from tasks.rorem.calibrate import Purity

ShardItems = Annotated[
    int,
    Field(ge=1, le=100_000, description="Items a shard: choose it so that a shard is 10–30 s of work."),
]
Workers = Annotated[
    WorkersConfig,
    Field(
        description="Who proposes and scores: inline (the flow itself), processes of this machine, or ray's "
        "actors. What comes out is the same."
    ),
]

PhaseImageFormat = Annotated[ImageFormat, FromProfile("image_format")]
"""The profile's, where nothing is set."""
IMAGE_FORMAT = (
    "Format of the images that are made, such as candidates. png: lossless. jpeg: quality 95, a quarter of "
    "the size. Masks are always lossless."
)

Acceptance = Literal["discriminator", "humans_only", "oracle", "none_after_humans", "all", "none"]
"""Which candidates join the dataset: RORem's way, or one of five controls."""


Keep = Literal["score", "purity"]
"""The rule of the automated phase."""


ReviewChoiceRule = Literal["random", "active"]
"""Which pool items a human phase asks about."""


class Proposal(NamedTuple):
    """How candidates are made."""

    variants: tuple[MaskVariant, ...]
    shard_items: int
    """Items a shard."""
    image_format: ImageFormat
    workers: WorkersConfig


class Retraining(NamedTuple):
    """How a remover is trained on a dataset version."""

    seed: int
    """Each phase derives its own seed from it."""
    training: TrainingConfig
    loss: RemoverLossConfig
    sampling: SamplingConfig
    distributed: DistributedConfig


class Reviewers(NamedTuple):
    """Who answers."""

    queue: QueuePolicy | None
    """People, from a queue that works so. None: the oracle."""
    oracle: OracleConfig
    seed: int
    """Chooses the items of an extension."""


class SuccessMeasure(NamedTuple):
    """What a success is, and on which triplets it is measured."""

    quality: QualityConfig
    origin: str
    """The triplets' origin starts so; empty for all."""

    def images(self, split: Split) -> str:
        """The images of a split that it is measured on, in words: ``test split, clip:``."""
        return f"{split} split, {self.origin or 'all'}"


class RoundSettings(Profiled):
    """How a round goes. Where nothing is set, the profile decides."""

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger, the shards and the models."
    )
    seed: int = Field(default=0, ge=0, description="Seed of items, noise and training order.")
    human_items: int = Field(
        default=600, ge=1, description="Number of pool items that a human phase reviews (RORem: 10,000)."
    )
    automation_items: int = Field(
        default=500,
        ge=1,
        description="Number of pool items that an automated phase scores (RORem: 30,000 to 95,204).",
    )
    variants: tuple[MaskVariant, ...] = Field(
        default=("tight", "dilated", "left", "right"),
        min_length=1,
        description="Mask variants. Each item gets one candidate for each variant.",
    )
    score_threshold: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Minimum score of a candidate that the automated phase keeps (RORem: 0.9).",
    )
    acceptance: Acceptance = Field(
        default="discriminator",
        description="Which candidates join the dataset. discriminator: RORem's rule. The others are "
        "controls. humans_only: people's YES, then nothing new. oracle: people's YES, then every good "
        "candidate by the known truth. none_after_humans: people's YES, then one candidate of each item. "
        "all: one candidate of each item in both phases. none: no growth, with the same training steps.",
    )
    keep: Keep = Field(
        default="score",
        description="What the automated phase keeps of items' best candidates. score: each that scores above "
        "score_threshold (RORem). purity: as many as possible that together are as pure as purity asks.",
    )
    purity: Purity = Field(
        default=Purity(), description="How pure the kept candidates shall be together, with keep purity."
    )
    labelled_pairs: int = Field(
        default=400,
        ge=0,
        description="Number of training pairs whose candidates teach the discriminator without people. Their "
        "labels follow from the known truth.",
    )
    review_choice: ReviewChoiceRule = Field(
        default="random",
        description="Which pool items a human phase asks about. random: as many as it draws. active: from "
        "round 2 on, the half of twice as many that the newest discriminator is unsure of and that differ; a "
        "third of them is random. The automated phase gets the others.",
    )
    oracle: OracleConfig = Field(
        default=OracleConfig(),
        description="Settings of the oracle, which answers in place of people. Its quality defines a "
        "success.",
    )
    human_review: QueuePolicy | None = Field(
        default=None,
        description="Settings of the review queue. A phase opens a batch and waits for people's answers. "
        "None: the oracle answers.",
    )
    sampling: Annotated[SamplingConfig, FromProfile("sampling")] = from_profile(
        "How the remover samples removals."
    )
    retraining: Annotated[TrainingConfig, FromProfile("retraining")] = from_profile(
        "Training of the remover after each phase."
    )
    loss: Annotated[RemoverLossConfig, FromProfile("retraining_loss")] = from_profile(
        "Loss of the remover's training."
    )
    discriminator: Annotated[DiscriminatorConfig, FromProfile("discriminator_shape")] = from_profile(
        "Architecture of the discriminator."
    )
    discriminator_training: Annotated[TrainingConfig, FromProfile("discriminator")] = from_profile(
        "Training of the discriminator after each human phase."
    )
    distributed: Annotated[DistributedConfig, FromProfile("distributed")] = from_profile(
        "Processes, precision and memory of all trainings."
    )
    calibration_items: int = Field(
        default=300,
        ge=20,
        description="Number of unused items of which one candidate is reviewed after a human phase's "
        "retraining. They calibrate the discriminator and join no dataset.",
    )
    discriminator_test_items: int = Field(
        default=500,
        ge=1,
        description="Number of fresh items on which each discriminator is measured. It is not trained on "
        "them.",
    )
    evaluation_source: Annotated[str, FromProfile("evaluation_source")] = from_profile(
        "Success is measured on test triplets whose origin starts with this text, such as clip:. An empty "
        "text means all test triplets."
    )
    image_format: PhaseImageFormat = from_profile(IMAGE_FORMAT)
    shard_items: ShardItems = 150
    workers: Workers = INLINE

    @property
    def proposal(self) -> Proposal:
        """How the round makes candidates."""
        return Proposal(self.variants, self.shard_items, self.image_format, self.workers)

    @property
    def remover_training(self) -> Retraining:
        """How the round retrains."""
        return Retraining(self.seed, self.retraining, self.loss, self.sampling, self.distributed)

    @property
    def numerics(self) -> tuple[str, str]:
        """What of the trainings' running decides the weights: precision and optimizer."""
        return self.distributed.precision, self.distributed.optimizer

    @model_validator(mode="after")
    def _batches_can_be_divided(self) -> Self:
        for training in (self.retraining, self.discriminator_training):
            check_division(training.batch_size, self.distributed)
        return self

    @property
    def reviewers(self) -> Reviewers:
        """Who answers in the round."""
        return Reviewers(self.human_review, self.oracle, self.seed)

    @property
    def success(self) -> SuccessMeasure:
        """How the round measures success."""
        return SuccessMeasure(self.oracle.quality, self.evaluation_source)


class RoundNumber(BaseModel):
    """Which round; a last base's fields stand first in Prefect's form."""

    model_config = ConfigDict(frozen=True)

    round: int = Field(default=1, ge=1, le=999, description="Number of the round. The first is 1.")


class RoundConfig(RoundSettings, RoundNumber):
    """Which round, how many items people and the discriminator get, and how the models are trained."""

    @property
    def identity(self) -> "RunIdentity":
        """What makes two starts the same run."""
        return RunIdentity.of(self)


class RunIdentity(BaseModel):
    """The settings that decide what a run makes. A start with the same ones goes on with the same run.

    A setting that does not change the outcome (the workspace, the workers) stays out. A setting that is added
    later gets a default here that means "as before": runs from before keep their key.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True)

    seed: int
    human_items: int
    automation_items: int
    variants: tuple[MaskVariant, ...]
    score_threshold: float
    acceptance: Acceptance
    oracle: OracleConfig
    human_review: QueuePolicy | None
    sampling: SamplingConfig
    retraining: TrainingConfig
    loss: RemoverLossConfig
    discriminator: DiscriminatorConfig
    discriminator_training: TrainingConfig
    calibration_items: int
    discriminator_test_items: int
    evaluation_source: str
    shard_items: int
    numerics: tuple[str, str] = ("float32", "adamw")
    keep: Keep = "score"
    purity: Purity = Purity()
    labelled_pairs: int = 0
    review_choice: ReviewChoiceRule = "random"
    image_format: ImageFormat = "png"

    @classmethod
    def of(cls, settings: RoundSettings) -> Self:
        """The identity of the run with these settings."""
        return cls.model_validate(settings)

    @property
    def key(self) -> str:
        """Names the run in the ledger: 20 hexadecimal digits."""
        return derive_key("rorem", self.model_dump_json(exclude=as_before(self)))


def as_before(identity: BaseModel) -> set[str]:
    """The fields that were added later and have their default: a digest without them is the one of before."""
    fields = type(identity).model_fields.items()
    return {
        name for name, field in fields if not field.is_required() and getattr(identity, name) == field.default
    }
