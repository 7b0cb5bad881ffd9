"""`cleanplate ingest`: rord, mulan, ober, coco and sa1b, data sets in their authors' layouts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.ingest_options import Limits, Output, ShardOption, Splits, run_ingest
from flows.cli.options import clear_errors, with_groups

published_app = typer.Typer()


@dataclass(frozen=True)
class Classes:
    """Which classes of a pool are taken."""

    class_cap: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Maximum number of items of one class.")
    ] = 500
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="A class to leave out, in place of body parts and clothes. Repeat it for more classes."
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        """As the config names them."""
        excluded = {"excluded_classes": tuple(self.exclude)} if self.exclude else {}
        return {"class_cap": self.class_cap, **excluded}


@published_app.command("rord")
@clear_errors
@with_groups
def rord_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="The folder with jpg/SCENE/ and M/SCENE/, or with img/."
        ),
    ],
    *,
    turn_masks: Annotated[
        bool,
        typer.Option("--turn-masks", help="Turn a mask that the two images show to be inverted."),
    ] = False,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest RORD as published: the last frame of a scene is the ground truth, and masks are polygons.

    The reduced and the prepared form are read, too. The masks of the prepared form are inverted: they are
    refused, or turned with --turn-masks.

    Example: cleanplate ingest rord ./RORD --size-px 512
    """
    source = {"kind": "rord", "path": path, "turn_masks": turn_masks, **asdict(limits), **asdict(splits)}
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


@published_app.command("mulan")
@clear_errors
@with_groups
def mulan_command(
    path: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="The folder with *.p.zl, in it or below."),
    ],
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="The folder with the images of COCO or LAION. Default: the folder of the annotations.",
        ),
    ] = None,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest MULAN as published: each layer of an image is removed once.

    Its pickles run no code. One that holds more than arrays, images and text is refused.

    Example: cleanplate ingest mulan ./mulan --images ./coco --size-px 512
    """
    source = {"kind": "mulan", "path": path, "images": images, **asdict(limits), **asdict(splits)}
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


@published_app.command("coco")
@clear_errors
@with_groups
def coco_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="The folder with annotations/instances_*.json and train2017/."
        ),
    ],
    *,
    classes: Classes,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest COCO's instances as a pool: polygons and run lengths.

    Example: cleanplate ingest coco ./coco --size-px 512 --exclude person
    """
    source = {"kind": "coco", "path": path, **classes.settings(), **asdict(limits), **asdict(splits)}
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


@published_app.command("sa1b")
@clear_errors
@with_groups
def sa1b_command(
    path: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="The folder with sa_*.jpg and sa_*.json."),
    ],
    *,
    class_cap: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Maximum number of items. SA-1B has one class.")
    ] = 1_000_000,
    limits: Limits,
    splits: Splits,
    shard_samples: ShardOption = 500,
    output: Output,
) -> None:
    """Ingest SA-1B's masks as a pool. All are of the class "object".

    Example: cleanplate ingest sa1b ./sa1b --size-px 512 --mask-area-min 0.02
    """
    source = {"kind": "sa1b", "path": path, "class_cap": class_cap, **asdict(limits), **asdict(splits)}
    run_ingest({"source": source, "shard_samples": shard_samples}, output)


@published_app.command("ober")
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
    run_ingest({"source": {**source, **asdict(limits)}, "shard_samples": shard_samples}, output)
