"""The settings of an ingest: where samples come from, and how they are stored."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.execution.executor import INLINE, WorkersConfig
from tasks.sources.clip.clip import ClipConfig
from tasks.sources.clip_folder import ClipFolderConfig
from tasks.sources.readers import (
    CocoSource,
    FolderSource,
    HighResolutionSource,
    MetaJsonSource,
    MulanSource,
    OberSource,
    PoolSource,
    RordSource,
    Sa1bSource,
)
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.shards import ImageFormat


class ClipSource(ClipConfig):
    """A fixed-camera video."""

    kind: Literal["clip"] = "clip"


class ClipFolderSource(ClipFolderConfig):
    """A folder of fixed-camera videos."""

    kind: Literal["clips"] = "clips"


class SyntheticSource(BaseModel):
    """Rendered samples."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["synthetic"] = "synthetic"
    renderer: SyntheticConfig = Field(default=SyntheticConfig(), description="Settings of the renderer.")
    count: int = Field(default=1000, ge=1, le=10_000_000, description="Number of samples.")
    stage: Literal["triplets", "pool"] = Field(
        default="triplets",
        description="Kind of sample. triplets: pairs for the dataset. pool: unlabelled items, with their "
        "ground truth stored apart.",
    )


Source = (
    ClipSource
    | ClipFolderSource
    | FolderSource
    | MetaJsonSource
    | PoolSource
    | HighResolutionSource
    | RordSource
    | MulanSource
    | CocoSource
    | Sa1bSource
    | OberSource
    | SyntheticSource
)


class IngestConfig(BaseModel):
    """Where samples come from, and how they are stored."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger, the shards and the versions."
    )
    source: Annotated[Source, Field(discriminator="kind", description="The source of the samples.")]
    shard_samples: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="Number of samples in a shard. A clip is one shard. Aim at 10 to 30 s of work for "
        "each shard.",
    )
    image_format: ImageFormat = Field(
        default="png",
        description="Format of the stored images. png: lossless. jpeg: quality 95, a quarter of the size.",
    )
    workers: WorkersConfig = Field(
        default=INLINE,
        description="Who reads images from files and renders scenes. The shards do not depend on it.",
    )
