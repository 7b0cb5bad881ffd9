"""Which workers do a flow's shards: a choice of the flow's form, told apart by ``kind``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class InlineConfig(BaseModel):
    """One shard after the other, in the flow's own process."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["inline"] = "inline"

    @property
    def count(self) -> int:
        """Shards at once."""
        return 1


INLINE = InlineConfig()
"""What every shard task does unless it is told otherwise."""


class ProcessesConfig(BaseModel):
    """Processes of this machine; where it has GPUs, each process sees one of them."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["processes"] = "processes"
    count: int = Field(
        default=2, ge=1, le=256, description="Processes; as many as GPUs, or as cores where there is none."
    )


class RayConfig(BaseModel):
    """Actors of a Ray cluster, which outlive the flow's process and keep their weights loaded."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["ray"] = "ray"
    address: str = Field(
        default="auto",
        min_length=1,
        description="Of the cluster's head, such as 127.0.0.1:6379; auto finds the one on this machine.",
    )
    count: int = Field(default=2, ge=1, le=1024, description="Actors; as many as the cluster has GPUs.")
    gpus_each: float = Field(
        default=0, ge=0, le=64, description="GPUs that Ray sets aside for each actor: 1 where there are any."
    )


WorkersConfig = Annotated[InlineConfig | ProcessesConfig | RayConfig, Field(discriminator="kind")]
