"""Read the settings of the two profiles, `tiny` and `full`. No other file knows what they mean.

A flow's config that derives from ``Profiled`` takes from its profile whatever its user did not set.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from data_specs.errors import first_fault
from data_specs.shard import ImageFormat
from models.rorem.discriminator import ATTENTION, CONVOLUTIONS, DiscriminatorConfig
from models.rorem.lcm_lora import LcmLoraConfig
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from models.training.losses.object_clear import ObjectClearLossConfig
from models.training.losses.remover import RemoverLossConfig

ProfileName = Literal["tiny", "full"]


class Profile(BaseModel):
    """How networks of one size are trained and sampled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str | None
    """Folder of the network where a cycle starts. None: the shipped one."""
    data: Literal["synthetic", "workspace"]
    """What a cycle starts from: scenes that it makes, or what was ingested."""
    evaluation_source: str
    """Success is measured on test triplets whose origin starts so."""
    image_format: ImageFormat
    """Format of the images that a phase makes."""
    remover: TrainingConfig
    remover_loss: RemoverLossConfig
    object_clear: TrainingConfig
    object_clear_loss: ObjectClearLossConfig
    retraining: TrainingConfig
    """Retraining of the remover after each phase of a round."""
    retraining_loss: RemoverLossConfig
    discriminator_shape: DiscriminatorConfig
    discriminator: TrainingConfig
    sampling: SamplingConfig
    distillation: TrainingConfig
    distillation_loss: LcmLossConfig
    lora: LcmLoraConfig
    distilled_sampling: SamplingConfig
    distributed: DistributedConfig


_FULL_REMOVER = TrainingConfig(
    steps=50_000,
    batch_size=128,
    learning_rate=5e-5,
    schedule="constant",
    warmup_steps=500,
    ema_decay=0.9999,
    checkpoint_every=500,
)

PROFILES: dict[ProfileName, Profile] = {
    "tiny": Profile(
        base=None,
        data="synthetic",
        evaluation_source="studio:",
        image_format="png",
        remover=TrainingConfig(steps=150, batch_size=8, learning_rate=6e-4),
        remover_loss=RemoverLossConfig(change_weight=3, noisy_fraction=0.5),
        object_clear=TrainingConfig(steps=5500, learning_rate=1e-3, checkpoint_every=50),
        object_clear_loss=ObjectClearLossConfig(
            change_weight=3, noisy_fraction=0.5, mask_loss_weight=0.1, sloppy_masks=True
        ),
        retraining=TrainingConfig(steps=140, batch_size=8, learning_rate=5e-4),
        retraining_loss=RemoverLossConfig(change_weight=5, noisy_fraction=0.5),
        discriminator_shape=DiscriminatorConfig(
            lora_rank=16,
            lora_alpha=16,
            lora_targets=ATTENTION + CONVOLUTIONS,
            head="pooled",
            head_width=64,
            voters=4,
        ),
        discriminator=TrainingConfig(steps=200, batch_size=16, learning_rate=1e-3, ema_decay=0.98),
        # The tiny network predicts the clean latent: two steps succeed as often as four, at half the cost.
        sampling=SamplingConfig(steps=2),
        # The tiny networks have never seen a blank prompt, so they have no guidance.
        distillation=TrainingConfig(steps=150, learning_rate=3e-4),
        distillation_loss=LcmLossConfig(guidance_low=0, guidance_high=0, change_weight=3),
        lora=LcmLoraConfig(rank=16),
        distilled_sampling=SamplingConfig(steps=4),
        distributed=DistributedConfig(),
    ),
    # Papers.md, facts 5, 6, 8 and 18. Batches are those of the papers' 8 GPUs together. The papers train in
    # fp16. Here it is bfloat16, whose range needs no loss scaling. EMA is NOT PUBLISHED.
    "full": Profile(
        base="weights/sdxl-inpainting",
        data="workspace",
        evaluation_source="",
        # 120,000 candidates of 512 px are 14 GB as JPEG, and 101 GB as PNG with a source for every candidate.
        image_format="jpeg",
        remover=_FULL_REMOVER,
        remover_loss=RemoverLossConfig(),
        object_clear=TrainingConfig(
            steps=100_000,
            batch_size=32,
            learning_rate=1e-5,
            warmup_steps=500,
            ema_decay=0.9999,
            checkpoint_every=500,
        ),
        object_clear_loss=ObjectClearLossConfig(),
        # The retraining of a round is NOT PUBLISHED. Here it equals the first training.
        retraining=_FULL_REMOVER,
        retraining_loss=RemoverLossConfig(),
        discriminator_shape=DiscriminatorConfig(voters=4),
        discriminator=TrainingConfig(
            steps=15_000,
            batch_size=256,
            learning_rate=1e-5,
            schedule="constant",
            warmup_steps=0,
            ema_decay=0.999,
            checkpoint_every=500,
        ),
        sampling=SamplingConfig(steps=50, strength=0.99, batch_size=8, precision="bfloat16"),
        # Papers.md, fact 7. The batch size is NOT PUBLISHED. Strength 0.99 would leave three of four steps.
        distillation=TrainingConfig(
            steps=20_000,
            batch_size=128,
            learning_rate=5e-5,
            schedule="constant",
            warmup_steps=500,
            ema_decay=0.9999,
            checkpoint_every=500,
        ),
        distillation_loss=LcmLossConfig(),
        lora=LcmLoraConfig(),
        distilled_sampling=SamplingConfig(steps=4, batch_size=8, precision="bfloat16"),
        distributed=DistributedConfig(
            micro_batch_size=4,
            precision="bfloat16",
            gradient_checkpointing=True,
            loader_workers=4,
            keep_checkpoints=2,
        ),
    ),
}


Settings = TypeVar("Settings", bound=BaseModel)


def profile_of(name: str) -> Profile:
    """A profile by its name, or from a JSON file that says ``{"extends": "full", "remover": {"steps": 9}}``.

    Raises:
        ValueError: If there is no such profile or file, or a setting in the file is unknown or out of bounds.
    """
    if name in PROFILES:
        return PROFILES[cast(ProfileName, name)]
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name!r} is no profile; write tiny, full or the path of a JSON file")
    try:
        changes = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error}); correct the file") from error
    extends = changes.pop("extends", None) if isinstance(changes, dict) else None
    if extends not in PROFILES:
        raise ValueError(f'{path}: must be a JSON object with "extends": "tiny" or "extends": "full"')
    return merged(PROFILES[extends], changes, str(path))


def merged(own: Settings, changes: object, where: str) -> Settings:
    """Settings with a user's changes, field by field. A change that is None leaves the field as it is.

    Args:
        own: The settings where the user says nothing.
        changes: A dict, which may itself hold dicts for settings inside; None; or complete settings.
        where: Names the settings in an error.

    Raises:
        ValueError: If a field is unknown or out of bounds, or fields do not go together.
    """
    if changes is None:
        return own
    if isinstance(changes, type(own)):
        return changes
    if not isinstance(changes, dict):
        raise ValueError(f"{where}: write the settings as {{name: value}}")
    unknown = sorted(set(changes) - set(type(own).model_fields))
    if unknown:
        raise ValueError(f"{where} has no setting {unknown[0]!r}; remove it or correct its name")
    values = {name: getattr(own, name) for name in type(own).model_fields}
    for name, change in changes.items():
        if isinstance(values[name], BaseModel):
            values[name] = merged(values[name], change, f"{where}.{name}")
        elif change is not None:
            values[name] = change
    try:
        return type(own).model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{where}: {first_fault(error)}") from error


FROM_PROFILE = "cleanplate_profile"
"""The key by which a field's JSON schema names the profile's setting. Forms pass over it."""


@dataclass(frozen=True)
class FromProfile:
    """Marks a field of a ``Profiled`` config, in ``Annotated``: what the user leaves out is the profile's."""

    name: str
    """The profile's setting."""

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A form in which every field may stay empty. With other defaults a form would send those."""
        schema = dict(handler.resolve_ref_schema(handler(core_schema)))
        schema.pop("default", None)
        if "properties" in schema:
            schema["properties"] = {
                name: _may_be_empty(field) for name, field in schema["properties"].items()
            }
            schema["additionalProperties"] = False
        return {"anyOf": _or_null(schema), FROM_PROFILE: self.name}


def _may_be_empty(field: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a field, whose default is null."""
    about = {name: field[name] for name in ("title", "description") if name in field}
    value = {name: part for name, part in field.items() if name not in (*about, "default")}
    return {**about, "anyOf": _or_null(value), "default": None}


def _or_null(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices of a JSON schema, and null."""
    choices = value["anyOf"] if set(value) == {"anyOf"} else [value]
    return choices if {"type": "null"} in choices else [*choices, {"type": "null"}]


def from_profile(description: str) -> Any:
    """The field of a ``Profiled`` config that its user may leave empty.

    Args:
        description: What it sets.
    """
    return Field(default=None, description=description)


class Profiled(BaseModel):
    """A config whose fields with ``FromProfile`` are filled from the profile, and merged field by field."""

    model_config = ConfigDict(frozen=True)

    profile: str = Field(
        default="tiny",
        description="The profile that gives every setting that you leave empty: tiny, full, or the path of a "
        "JSON file.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_profile(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("profile") or "tiny"
        profile, filled = profile_of(name), {**given, "profile": name}
        for name, field in cls.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, FromProfile):
                    own = getattr(profile, mark.name)
                    is_settings = isinstance(own, BaseModel)
                    changes = given.get(name)
                    plain = own if changes is None else changes
                    filled[name] = merged(own, changes, name) if is_settings else plain
        return filled
