"""`cleanplate ingest`: clip, folder, meta-json, pool, high-resolution, synthetic, and published data sets."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.ingest_options import Limits, Output, ShardOption, SizeOption, Splits, run_ingest
from flows.cli.ingest_published import published_app
from flows.cli.options import LARGEST, clear_errors, no_pipe, with_groups

ingest_app = typer.Typer(
    name="ingest",
    help=(
        "Bring samples into the workspace. Refused samples are recorded with their reason.\n\n"
        "At the end, found = kept + refused + ignored. Each record counts as found: a triplet, a row, an "
        "image or a render. Each other file below the folder counts as found and ignored, with a reason."
    ),
    no_args_is_help=True,
)


@ingest_app.command("clip")
@clear_errors
@with_groups
def clip_command(
    path: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            callback=no_pipe,
            help="The video, or a folder of videos. Default: the shipped clip.",
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

    Moving objects are masked, and the empty scene is the ground truth. Of a folder, every video is read. One
    that cannot be read is refused, and the next one is read.

    Example: cleanplate ingest clip street.mp4 --frame-step 5
    """
    source = {
        "kind": "clips" if path is not None and path.is_dir() else "clip",
        "size_px": size_px,
        "crop_min_px": crop_min_px,
        "crop_max_px": crop_max_px,
        "frame_step": frame_step,
        "crops_per_frame": crops_per_frame,
        **({} if path is None else {"path": path}),
    }
    run_ingest({"source": source}, output)


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
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


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
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


@ingest_app.command("pool")
@clear_errors
@with_groups
def pool_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="The folder with images/, the two CSV files, and masks/ or the archives of masks.",
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

    The archives of masks, such as train-masks-0.zip, stay packed. The folders images/ and masks/ may be
    links. A link inside them that leads out is refused.

    Example: cleanplate ingest pool ./openimages --class-cap 500 --exclude Person --exclude Hat
    """
    source = {"kind": "pool", "path": path, "class_cap": class_cap, **asdict(limits), **asdict(splits)}
    if classes_csv:
        source["classes_csv"] = classes_csv
    if exclude:
        source["excluded_classes"] = tuple(exclude)
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


@ingest_app.command("high-resolution")
@clear_errors
@with_groups
def high_resolution_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="The folder with images/, or with DIV2K_train_HR/ or Flickr2K/ as downloaded.",
        ),
    ],
    *,
    objects: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="The folder of objects to paste: source/ and mask/, COCO with instances_*.json, or SA-1B "
            "with sa_*.json. Default: objects/ in the folder.",
        ),
    ] = None,
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
        "objects": objects,
        "object_area_min": object_area_min,
        "object_area_max": object_area_max,
        "seed": seed,
        **asdict(splits),
        **({"sizes_px": tuple(size_px)} if size_px else {}),
    }
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


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
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


ingest_app.add_typer(published_app)
