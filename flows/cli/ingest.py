"""`cleanplate ingest`: clip, folder, meta-json, pool, high-resolution, ober, synthetic."""

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
        "Bring samples into the workspace. Refused samples are recorded with their reason.\n\n"
        "At the end, found = kept + refused + ignored. Each record counts as found: a triplet, a row, an "
        "image or a render. Each other file below the folder counts as found and ignored, with a reason."
    ),
    no_args_is_help=True,
)

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
            help="The video. Default: the shipped clip.",
        ),
    ] = None,
    *,
    size_px: SizeOption = 64,
    crop_min_px: Annotated[
        int, typer.Option(min=16, max=4096, help="Minimum side of a crop, in pixels of the clip.")
    ] = 64,
    crop_max_px: Annotated[
        int, typer.Option(min=16, max=4096, help="Maximum side of a crop, in pixels of the clip.")
    ] = 192,
    frame_step: Annotated[
        int, typer.Option(min=1, max=1000, help="Step between frames. 2 uses every second frame.")
    ] = 2,
    crops_per_frame: Annotated[
        int, typer.Option(min=1, max=100, help="Maximum number of crops from one frame.")
    ] = 4,
    output: Output,
) -> None:
    """Ingest pairs from a fixed-camera video.

    Moving objects are masked, and the empty scene is the ground truth.

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
    """Ingest triplets from three folders. Files with the same stem belong together.

    The files are JPEG or PNG. The three folders may be links. A link inside them that leads out is refused.

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
            help="The meta.json. The images lie in its folder or below.",
        ),
    ],
    *,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest triplets in RORem's published layout: a list of records with source, mask and GT.

    The folders source/, mask/ and GT/ beside the file may be links. Any other link that leads out of the
    meta.json's folder is refused.

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
            help="Name of the CSV of class names in that folder. Default: class-descriptions-boxable.csv "
            "or V7's oidv7-class-descriptions-boxable.csv."
        ),
    ] = None,
    class_cap: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Maximum number of items of one class.")
    ] = 500,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="A class to leave out, in place of body parts and clothes. Repeat it for more classes."
        ),
    ] = None,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest unlabelled images with instance masks and classes, in OpenImages' layout.

    The folders images/ and masks/ may be links. A link inside them that leads out is refused.

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
        typer.Option(
            max=LARGEST,
            help="A side of the samples in pixels, in place of 512 and 1024. Repeat it for more sides.",
        ),
    ] = None,
    object_area_min: Annotated[
        float, typer.Option(help="Minimum area of an object, as a fraction of the sample.")
    ] = 0.02,
    object_area_max: Annotated[
        float, typer.Option(help="Maximum area of an object, as a fraction of the sample.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Seed of the objects and their places.")] = 0,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest photographs such as DIV2K and Flickr2K, and paste objects on them.

    An image gets the largest side that it fills. In `cleanplate train remover`, a batch has images of one
    side.

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


@ingest_app.command("ober")
@clear_errors
@with_groups
def ober_command(
    path: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="The folder of OBER, with data/*.parquet.")
    ],
    *,
    part: Annotated[
        str,
        typer.Option(help="The part to read: train or test. Samples of test belong to the split test."),
    ] = "train",
    validation_fraction: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Fraction of the train part's scenes for validation."),
    ] = 0.1,
    limits: Limits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest OBER, ObjectClear's data set, from its parquet files. Samples keep their effect mask.

    Crops of one image share a split.

    Example: cleanplate ingest ober ./OBER --part test --size-px 512
    """
    source = {"kind": "ober", "path": path, "part": part, "validation_fraction": validation_fraction}
    _run({"source": {**source, **asdict(limits)}, "shard_samples": shard_samples}, output)


@ingest_app.command("synthetic")
@clear_errors
@with_groups
def synthetic_command(
    *,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of samples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Seed of the scenes.")] = 0,
    split: Annotated[
        str,
        typer.Option(help="Split of the samples: train, validation or test. Two splits never share a scene."),
    ] = "train",
    stage: Annotated[
        str, typer.Option(help="Kind of sample: triplets, or pool with the ground truth stored apart.")
    ] = "triplets",
    size_px: SizeOption = 64,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Render synthetic scenes with exact ground truth from a seed.

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
