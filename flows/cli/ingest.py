"""`cleanplate ingest`: clip, folder, meta-json, pool, high-resolution, synthetic."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    JsonOption,
    WorkspaceOption,
    clear_errors,
    no_pipe,
    print_json,
    shown,
    valid,
    with_groups,
)

ingest_app = typer.Typer(
    name="ingest",
    help=(
        "Bring samples into the workspace. What is refused is kept with its reason; the rest goes on.\n\n"
        "At the end, found = kept + refused + ignored. One is found for each record: a triplet, a row, an "
        "image or a render. One is found for each other file below the folder. Those are ignored, with "
        "the reason."
    ),
    no_args_is_help=True,
)

SizeOption = Annotated[int, typer.Option("--size-px", min=16, max=2048, help="Side of the square samples.")]
ShardOption = Annotated[int, typer.Option("--shard-samples", min=1, max=100_000, help="Samples a shard.")]


@dataclass(frozen=True)
class Limits:
    """Which samples read from files are taken."""

    size_px: SizeOption = 64
    mask_area_min: Annotated[
        float, typer.Option("--mask-area-min", min=0, max=1, help="Smallest masked share of a sample.")
    ] = 0.005
    mask_area_max: Annotated[
        float, typer.Option("--mask-area-max", min=0, max=1, help="Largest masked share of a sample.")
    ] = 0.6


@dataclass(frozen=True)
class Splits:
    """How many scenes are held out."""

    validation_fraction: Annotated[
        float, typer.Option("--validation-fraction", min=0, max=0.5, help="Share of scenes for validation.")
    ] = 0.1
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", min=0, max=0.5, help="Share of scenes for testing.")
    ] = 0.1


@dataclass(frozen=True)
class Output:
    """Where the samples go, and what is printed."""

    image_format: Annotated[
        str,
        typer.Option("--image-format", help="png (lossless) or jpeg (quality 95, a quarter of the size)."),
    ] = "png"
    workspace: WorkspaceOption = DEFAULT_WORKSPACE
    as_json: JsonOption = False


@ingest_app.command("clip")
@clear_errors
@with_groups
def clip_command(
    path: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            callback=no_pipe,
            help="The video; by default the one that ships here.",
        ),
    ] = None,
    *,
    size_px: SizeOption = 64,
    crop_min_px: Annotated[int, typer.Option(min=16, max=4096, help="Smallest side of a crop.")] = 64,
    crop_max_px: Annotated[int, typer.Option(min=16, max=4096, help="Largest side of a crop.")] = 192,
    frame_step: Annotated[int, typer.Option(min=1, max=1000, help="Use every n-th frame.")] = 2,
    crops_per_frame: Annotated[int, typer.Option(min=1, max=100, help="At most this many of a frame.")] = 4,
    output: Output,
) -> None:
    """Pairs from a fixed-camera video: what moves is masked, the empty scene is the ground truth.

    Example: cleanplate ingest clip street.mp4 --frame-step 5
    """
    source = {
        "kind": "clip",
        "size_px": size_px,
        "crop_min_px": crop_min_px,
        "crop_max_px": crop_max_px,
        "frame_step": frame_step,
        "crops_per_frame": crops_per_frame,
        **({} if path is None else {"path": path}),
    }
    _run({"source": source}, output)


@ingest_app.command("folder")
@clear_errors
@with_groups
def folder_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="The folder with source/, mask/ and ground_truth/."
        ),
    ],
    *,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Triplets from three folders, matched by the files' stems.

    The files are JPEG or PNG. The three folders may be links to elsewhere. A link inside them that leads out
    is refused.

    Example: cleanplate ingest folder ./pairs --size-px 512 --workspace ./workspace
    """
    source = {"kind": "folder", "path": path, **asdict(limits), **asdict(splits)}
    _run({"source": source, "shard_samples": shard_samples}, output)


@ingest_app.command("meta-json")
@clear_errors
@with_groups
def meta_json_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            callback=no_pipe,
            help="The meta.json; the images lie in its folder or below.",
        ),
    ],
    *,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Triplets in RORem's published layout: a list of records with source, mask and GT.

    The folders source/, mask/ and GT/ beside the file may be links to elsewhere. Another link that leads out
    of the meta.json's folder is refused.

    Example: cleanplate ingest meta-json ./RORem/meta.json --size-px 512
    """
    source = {"kind": "meta_json", "path": path, **asdict(limits), **asdict(splits)}
    _run({"source": source, "shard_samples": shard_samples}, output)


@ingest_app.command("pool")
@clear_errors
@with_groups
def pool_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="The folder with images/, masks/ and the two CSV files."
        ),
    ],
    *,
    classes_csv: Annotated[
        str | None,
        typer.Option(
            help="The CSV of class names in that folder, in place of class-descriptions-boxable.csv or V7's "
            "oidv7-class-descriptions-boxable.csv."
        ),
    ] = None,
    class_cap: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most this many of a class.")] = 500,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="A class to leave out, in place of body parts and clothes; may be repeated."),
    ] = None,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Unlabelled images with instance masks and classes, in OpenImages' layout.

    The folders images/ and masks/ may be links to elsewhere. A link inside them that leads out is refused.

    Example: cleanplate ingest pool ./openimages --class-cap 500 --exclude Person --exclude Hat
    """
    source = {"kind": "pool", "path": path, "class_cap": class_cap, **asdict(limits), **asdict(splits)}
    if classes_csv:
        source["classes_csv"] = classes_csv
    if exclude:
        source["excluded_classes"] = tuple(exclude)
    _run({"source": source, "shard_samples": shard_samples}, output)


@ingest_app.command("high-resolution")
@clear_errors
@with_groups
def high_resolution_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="The folder with images/, objects/source/ and objects/mask/."
        ),
    ],
    *,
    size_px: Annotated[
        list[int] | None,
        typer.Option(max=LARGEST, help="A side samples may have, in place of 512 and 1024; may be repeated."),
    ] = None,
    object_area_min: Annotated[float, typer.Option(help="An object's smallest share of the sample.")] = 0.02,
    object_area_max: Annotated[float, typer.Option(help="Its largest.")] = 0.2,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST, help="Another seed, other objects at other places.")
    ] = 0,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Photographs without the object, as DIV2K and Flickr2K have them, and objects to paste on them.

    An image gets the largest side it fills; `cleanplate train remover` takes each batch of one side.

    Example: cleanplate ingest high-resolution ./div2k --size-px 512 --size-px 1024
    """
    source = {
        "kind": "high_resolution",
        "path": path,
        "object_area_min": object_area_min,
        "object_area_max": object_area_max,
        "seed": seed,
        **asdict(splits),
        **({"sizes_px": tuple(size_px)} if size_px else {}),
    }
    _run({"source": source, "shard_samples": shard_samples}, output)


@ingest_app.command("synthetic")
@clear_errors
@with_groups
def synthetic_command(
    *,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many samples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Another seed, other scenes.")] = 0,
    split: Annotated[
        str, typer.Option(help="train, validation or test; splits never share a scene.")
    ] = "train",
    stage: Annotated[str, typer.Option(help="triplets, or pool (the truth is kept apart).")] = "triplets",
    size_px: SizeOption = 64,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Scenes with exact truth, drawn from a seed.

    Example: cleanplate ingest synthetic --count 2000 --split validation --stage pool
    """
    renderer = {"seed": seed, "split": split, "size_px": size_px}
    source = {"kind": "synthetic", "renderer": renderer, "count": count, "stage": stage}
    _run({"source": source, "shard_samples": shard_samples}, output)


def _run(values: dict[str, Any], output: Output) -> None:
    """Run the flow, and print what it found."""
    from flows.ingest import IngestConfig, ingest
    from flows.runtime.prefect_server import local_prefect
    from tasks.storage.workspace import Workspace

    place = {"workspace": output.workspace, "image_format": output.image_format}
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
