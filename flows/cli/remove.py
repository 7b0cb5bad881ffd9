"""`cleanplate remove`: images and masks in, removals out."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_specs.errors import CleanplateError
from data_specs.reject import Reject
from flows.cli.options import (
    LARGEST,
    JsonOption,
    SamplingProfileOption,
    clear_errors,
    print_json,
    shown,
    workspace_folder,
)

if TYPE_CHECKING:
    from models.diffusion.inpainting import SamplingPrecision
    from tasks.registry.removers import OpenedRemover
    from tasks.removal.files import RemovalFiles
    from tasks.removal.remove import RemovalExtras, RemovalReport

remove_app = typer.Typer(name="remove")


@remove_app.command()
@clear_errors
def remove_command(
    source: Annotated[Path, typer.Argument(help="An image (JPEG or PNG), or a folder of images.")],
    mask: Annotated[
        list[Path],
        typer.Argument(help="The mask or masks of the image. For a folder of images: folders of masks."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="The image to write, or a folder. With .png the rest of the image is equal to the bit.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="The remover: patch-match, object-clear, rorem, telea, a network's folder, or its name on "
            "the Hugging Face hub. Default: patch-match. With --workspace: the hash of a model from "
            "`cleanplate model list`."
        ),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(
            parser=workspace_folder,
            metavar="DIR|s3://…",
            help="Use a model of this workspace. Without --model, use its champion.",
        ),
    ] = None,
    profile: SamplingProfileOption = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Number of denoising steps. Default: the model's own.")
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(
            help="Precision of the network: float32, bfloat16 or float16. Default: the model's own. Half "
            "precision is for GPUs."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST, help="Seed of the noise. The same seed gives the same removal.")
    ] = 0,
    save_attention: Annotated[
        bool,
        typer.Option("--save-attention", help="Also write OUT.attention.png, the model's attention map."),
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also write OUT.compare.png, which shows before and after.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove objects from your own images. The rest of each image is unchanged.

    A mask is white on the object and has the size of its image. Several masks are removed one after another.

    In folders, images and masks are matched by name: street.jpg with street.png, or with street.1.png,
    street.2.png and so on.

    Refused images are listed with their reason, and the others are written. The exit code is then 1.

    Example: cleanplate remove street.jpg person.png -o empty.png --compare

    Example: cleanplate remove street.jpg person.png dog.png -o empty.png

    Example: cleanplate remove photos masks -o removed --model rorem
    """
    # Imported here and below: --help need not wait for the networks.
    from transformers.utils.logging import disable_progress_bar

    from tasks.registry.removers import is_remover_folder_or_name
    from tasks.removal.files import match_files
    from tasks.removal.remove import RemovalExtras, check_extras, remove_from_files

    if workspace is not None and model is not None and is_remover_folder_or_name(model):
        raise typer.BadParameter(
            "with --workspace, --model takes a model's hash with at least four digits; `cleanplate "
            "model list` shows them"
        )
    # Weights of a few MB are there at once; only images are worth a bar.
    disable_progress_bar()
    matched = match_files(source, mask, out)
    opened = _opened(model, workspace, steps, precision, profile)
    extras = RemovalExtras(attention=save_attention, compare=compare)
    check_extras(opened.remover, extras)
    _say(f"using {opened.title}")
    if not source.is_dir() and not isinstance(matched[0], Reject):
        _tell([remove_from_files(matched[0], opened.remover, seed, extras)], [], opened, as_json)
        return
    reports, rejects = _remove_folder(matched, opened, seed, extras)
    _tell(reports, rejects, opened, as_json)
    if rejects:
        raise typer.Exit(1)


def _opened(
    model: str | None,
    workspace: Path | None,
    steps: int | None,
    precision: "SamplingPrecision | None",
    profile: str | None,
) -> "OpenedRemover":
    from tasks.registry.removers import open_champion, open_recorded, open_remover

    if workspace is None:
        return open_remover(model, steps, precision, profile)
    if model is None:
        return open_champion(workspace, steps, precision, profile)
    return open_recorded(workspace, model, steps, precision, profile)


def _remove_folder(
    matched: "Sequence[RemovalFiles | Reject]", opened: "OpenedRemover", seed: int, extras: "RemovalExtras"
) -> "tuple[list[RemovalReport], list[tuple[str, str]]]":
    """Every image that can be done; the others' names with a sentence each."""
    from tasks.removal.remove import remove_from_files

    reports: list[RemovalReport] = []
    rejects: list[tuple[str, str]] = []
    with _bar(len(matched)) as bar:
        for files in matched:
            if isinstance(files, Reject):
                rejects.append((files.name, f"{files.reason.value} ({files.detail})"))
            else:
                try:
                    reports.append(remove_from_files(files, opened.remover, seed, extras))
                except CleanplateError as error:
                    rejects.append((files.source.stem, str(error)))
            bar.advance(bar.task_ids[0])
    return reports, rejects


def _tell(
    reports: "Sequence[RemovalReport]",
    rejects: Sequence[tuple[str, str]],
    opened: "OpenedRemover",
    as_json: bool,
) -> None:
    if as_json:
        print_json(
            {
                "model": opened.title,
                "model_hash": opened.remover.model_hash,
                "removals": [report.model_dump(mode="json") for report in reports],
                "rejects": [{"name": name, "reason": reason} for name, reason in rejects],
            }
        )
    for report in reports:
        for note in report.notes:
            _say(f"note: {note}", "yellow")
        if not as_json:
            typer.echo(f"wrote {' '.join(str(path) for path in (report.out, *report.beside))}")
    for name, reason in rejects:
        _say(f"refused {name}: {reason}", "red")
    if rejects:
        _say(f"{len(reports)} written, {len(rejects)} refused")


def _say(words: str, style: str = "") -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(shown(words, style))


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    """A bar of the images done, on standard error. Without a terminal it shows nothing."""
    columns = (TextColumn("removing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        bar.add_task("removing", total=total)
        yield bar
