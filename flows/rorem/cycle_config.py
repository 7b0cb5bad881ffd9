"""What a cycle is made of: its start, its rounds, what follows them, and its phases' names."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.keys import derive_key
from data_specs.shard import ImageFormat
from flows.rorem.config import RoundConfig, RoundSettings, RunIdentity, as_before
from flows.rorem.initial_data import CycleComposites, PoolSizes, PreparationSettings
from flows.rorem.phases import Step
from models.profiles import FromProfile, from_profile
from models.rorem.lcm_lora import LcmLoraConfig
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.review.oracle import OracleConfig
from tasks.sources.readers import HighResolutionSource


class CycleLength(BaseModel):
    """How many rounds; a last base's fields stand first in Prefect's form."""

    model_config = ConfigDict(frozen=True)

    rounds: int = Field(
        default=2, ge=0, le=99, description="Number of rounds after the initialisation (RORem: 3)."
    )


class CycleConfig(RoundSettings, CycleLength):
    """What the workspace is filled with, how many rounds follow, and how each goes."""

    base: Annotated[str | None, FromProfile("base")] = from_profile(
        "The network where the cycle starts: a folder in the published layout of SDXL inpainting, one that "
        "cleanplate wrote, or a name on the Hugging Face hub. It counts in a workspace without a champion."
    )
    data: Annotated[Literal["synthetic", "workspace"], FromProfile("data")] = from_profile(
        "What the cycle works on. synthetic: a clip and scenes that it makes itself, by preparation. "
        "workspace: the pairs and the pool that were ingested."
    )
    preparation: PreparationSettings = Field(
        default=PreparationSettings(),
        description="With data synthetic: the data that the workspace gets before the first phase.",
    )
    initialisation: Annotated[TrainingConfig, FromProfile("remover")] = from_profile(
        "Training of the initial remover from the base."
    )
    composites: CycleComposites | None = Field(
        default=None,
        description="With data synthetic: settings of a compositing run whose composites are trained on, or "
        "join the pool. None: no compositing run.",
    )
    high_resolution: HighResolutionSource | None = Field(
        default=None,
        description="Images for RORem's final stage. Pairs at high resolution are made from them, and the "
        "remover is trained once more. None: no final stage.",
    )
    distil: bool = Field(
        default=False,
        description="Whether the last remover is distilled to few steps. The result is kept, not promoted.",
    )
    distillation: Annotated[TrainingConfig, FromProfile("distillation")] = from_profile(
        "Training of the distilled remover."
    )
    distillation_loss: Annotated[LcmLossConfig, FromProfile("distillation_loss")] = from_profile(
        "Path and guidance of the teacher."
    )
    lora: Annotated[LcmLoraConfig, FromProfile("lora")] = from_profile("The LoRA of the distillation.")
    distilled_sampling: Annotated[SamplingConfig, FromProfile("distilled_sampling")] = from_profile(
        "How the distilled remover samples removals."
    )

    @model_validator(mode="before")
    @classmethod
    def _measure_on_what_is_there(cls, given: Any) -> Any:
        """Ingested pairs have origins of their own, and the tiny profile measures on synthetic ones."""
        if isinstance(given, dict) and given.get("data") == "workspace":
            return {**given, "evaluation_source": given.get("evaluation_source") or ""}
        return given

    @model_validator(mode="after")
    def _composites_have_scenes(self) -> Self:
        if self.composites is not None and self.data == "workspace":
            raise ValueError(
                "composites need synthetic scenes; run `cleanplate composite` on your images before the cycle"
            )
        return self

    def for_round(self, number: int) -> RoundConfig:
        """The settings of one of the cycle's rounds."""
        settings = {name: getattr(self, name) for name in RoundSettings.model_fields}
        return RoundConfig(**settings, round=number)

    @property
    def pool_sizes(self) -> PoolSizes:
        """Items that all rounds draw; none where nothing grows."""
        if self.acceptance == "none":
            return PoolSizes(train=0, validation=0)
        a_round = self.human_items + self.calibration_items + self.automation_items
        # A human phase that chooses draws as many again; the automated phase takes these first.
        over = max(0, self.human_items - self.automation_items) if self.review_choice == "active" else 0
        return PoolSizes(self.rounds * (a_round + over), self.rounds * self.discriminator_test_items)


class StartIdentity(BaseModel):
    """The settings that decide the phases before the first round: cycles that differ in growth share them."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    seed: int
    oracle: OracleConfig
    sampling: SamplingConfig
    loss: RemoverLossConfig
    evaluation_source: str
    preparation: PreparationSettings
    initialisation: TrainingConfig
    base: str | None = None
    data: Literal["synthetic", "workspace"] = "synthetic"
    numerics: tuple[str, str] = ("float32", "adamw")
    image_format: ImageFormat = "png"

    def step(self, name: str) -> Step:
        """One of these phases."""
        return Step(derive_key("rorem start", self.model_dump_json(exclude=as_before(self))), name)


class EndIdentity(BaseModel):
    """The settings that decide the phases after the last round."""

    model_config = ConfigDict(frozen=True)

    start: StartIdentity
    run: RunIdentity
    rounds: int
    high_resolution: HighResolutionSource | None
    training: TrainingConfig
    loss: LcmLossConfig
    lora: LcmLoraConfig
    sampling: SamplingConfig

    @classmethod
    def of(cls, config: CycleConfig) -> Self:
        """The identity of a cycle's last phases."""
        return cls(
            start=StartIdentity.model_validate(config),
            run=RunIdentity.of(config),
            rounds=config.rounds,
            high_resolution=config.high_resolution,
            training=config.distillation,
            loss=config.distillation_loss,
            lora=config.lora,
            sampling=config.distilled_sampling,
        )

    def step(self, name: str) -> Step:
        """One of these phases."""
        return Step(derive_key("rorem end", self.model_dump_json()), name)
