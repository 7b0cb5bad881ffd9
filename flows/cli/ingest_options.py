"""What the commands of `cleanplate ingest` share: their options, and the run of the flow."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_json, shown, valid

SizeOption = Annotated[
    int, typer.Option("--size-px", min=16, max=2048, help="Side of the square samples, in pixels.")
]
ShardOption = Annotated[
    int, typer.Option("--shard-samples", min=1, max=100_000, help="Number of samples in a shard.")
]


@dataclass(frozen=True)
class Limits:
    """Which samples read from files are taken."""

    size_px: SizeOption = 64
    mask_area_min: Annotated[
        float, typer.Option("--mask-area-min", min=0, max=1, help="Minimum masked fraction of a sample.")
    ] = 0.005
    mask_area_max: Annotated[
        float, typer.Option("--mask-area-max", min=0, max=1, help="Maximum masked fraction of a sample.")
    ] = 0.6


@dataclass(frozen=True)
class Splits:
    """How many scenes are held out."""

    validation_fraction: Annotated[
        float,
        typer.Option("--validation-fraction", min=0, max=0.5, help="Fraction of scenes for validation."),
    ] = 0.1
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", min=0, max=0.5, help="Fraction of scenes for testing.")
    ] = 0.1


@dataclass(frozen=True)
class Output:
    """Where the samples go, and what is printed."""

    image_format: Annotated[
        str,
        typer.Option(
            "--image-format",
            help="Format of the stored images: png (lossless) or jpeg (quality 95, a quarter of the size).",
        ),
    ] = "png"
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            max=256,
            help="Number of processes that read the images of files, or render. A video has one. The shards "
            "do not depend on it.",
        ),
    ] = 1
    workspace: WorkspaceOption = DEFAULT_WORKSPACE
    as_json: JsonOption = False


def run_ingest(values: dict[str, Any], output: Output) -> None:
    """Run the flow, and print what it found."""
    from flows.ingest import ingest
    from flows.ingest_config import IngestConfig
    from flows.runtime.prefect_server import local_prefect
    from tasks.storage.workspace import Workspace

    place: dict[str, Any] = {"workspace": output.workspace, "image_format": output.image_format}
    if output.workers > 1:
        place["workers"] = {"kind": "processes", "count": output.workers}
    config = valid(IngestConfig, {**values, **place})
    workspace = Workspace.open(config.workspace)
    with local_prefect(workspace.root / "prefect") as hint:
        result = ingest(config)
    if output.as_json:
        print_json(result.model_dump(mode="json"))
        return
    table = Table("", "", "number", title=f"ingested: {config.source.kind}")
    for split, number in result.by_split.items():
        table.add_row("samples", split, str(number))
    for reason, number in result.rejects.items():
        table.add_row("refused", reason, str(number))
    for reason, number in result.ignored_by.items():
        table.add_row("ignored", shown(f"{reason}, first {result.ignored_first[reason]}"), str(number))
    console = Console()
    console.print(table)
    console.print(
        f"Found {result.found} = {result.kept} kept + {result.refused} refused + {result.ignored} ignored."
    )
    if result.version is None:
        console.print(f"Shards: {result.shards}. Nothing new for the dataset.")
    else:
        version = f"dataset version {result.version}"
        console.print(f"Shards: {result.shards}. Triplets new to the dataset: {result.added}, in {version}.")
    console.print(hint, highlight=False, soft_wrap=True)
