"""`cleanplate evaluate`: removers on images whose truth is known."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data_specs.comparison import Comparison
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    JsonOption,
    SamplingProfileOption,
    WorkspaceOption,
    clear_errors,
    print_json,
    shown,
    valid,
)

evaluate_app = typer.Typer(name="evaluate")

_METHODS_A_TABLE = 3
"""As many as 80 columns hold."""


@evaluate_app.command()
@clear_errors
def evaluate_command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A method. Shipped are telea, patch-match, rorem and object-clear. From the workspace: "
            "champion or a model's hash. A model's folder works, too. Repeat it for more methods. The others "
            "are compared with the first. Default: telea and rorem."
        ),
    ] = None,
    triplets: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder with source/, mask/ and ground_truth/, in place of the workspace. All of it is "
            "measured.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the workspace's images: test, validation or train.")
    ] = "test",
    version: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST, help="Version of the workspace's dataset. Default: the current one."
        ),
    ] = None,
    origin: Annotated[
        str,
        typer.Option(
            help="Take only the workspace's images whose origin starts with this text, such as clip: or "
            "folder:."
        ),
    ] = "",
    size_px: Annotated[
        int,
        typer.Option(
            "--size-px", min=16, max=2048, help="With --triplets: side of the square samples, in pixels."
        ),
    ] = 64,
    metric_weights: Annotated[
        Path | None,
        typer.Option(
            envvar="CLEANPLATE_METRIC_WEIGHTS",
            help="Folder with lpips/, clip/, dino/ and sam/. docs/guides/evaluation.md describes their "
            "files.",
        ),
    ] = None,
    grid_rows: Annotated[
        int,
        typer.Option(min=0, max=20, help="Number of worst, median and best images to show for each method."),
    ] = 2,
    profile: SamplingProfileOption = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Seed of the bootstrap intervals.")] = 0,
    table: Annotated[
        bool,
        typer.Option(
            "--table",
            help="Show the papers' tables, too: RORem's 1 and 2, and ObjectClear's. Published figures are "
            "marked.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results.parquet, report.html and the image grids. Default: evaluation."
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Measure removers on images with ground truth: PSNR, SSIM, LPIPS, CLIP, DINO and ReMOVE.

    A metric without weights is left out with a notice. A second run into the same folder measures only what
    is new.

    Example: cleanplate evaluate --model telea --model champion --origin clip:

    Example: cleanplate evaluate --table --model telea --model champion

    Example: cleanplate evaluate --triplets ./pairs --size-px 512 --metric-weights ./weights --json
    """
    if triplets is None:
        images: dict[str, Any] = {
            "kind": "version", "workspace": workspace, "version": version, "split": split, "origin": origin,
        }  # fmt: skip
    else:
        if version is not None or origin or split != "test":
            raise typer.BadParameter(
                "--version, --split and --origin need a workspace; leave them out with --triplets"
            )
        images = {"kind": "folder", "path": triplets, "size_px": size_px}
    values = {
        "images": images,
        "metrics": {"weights": metric_weights},
        "grid_rows": grid_rows,
        "profile": profile,
        "seed": seed,
        "table": table,
        **({"methods": tuple(model)} if model else {}),
        **({} if out is None else {"out": out}),
    }
    _run(values, as_json)


def _run(values: dict[str, Any], as_json: bool) -> None:
    """Run the flow, and print what it measured."""
    from flows.evaluate import EvaluateConfig, evaluate
    from flows.runtime.prefect_server import local_prefect
    from tasks.evaluation.test_set import pinned

    config = valid(EvaluateConfig, values)
    pinned(config.images)  # What is not there is said before a server starts.
    with local_prefect(config.out.expanduser().resolve() / "prefect") as hint:
        comparison = evaluate(config)
    if as_json:
        print_json(comparison.model_dump(mode="json"))
        return
    print_comparison(comparison)
    Console().print(hint, highlight=False, soft_wrap=True)


def print_comparison(comparison: Comparison) -> None:
    """Means, differences and what was left out, in 80 columns."""
    from flows.report.pages import lead_sentence
    from flows.report.tables import difference_rows, mean_rows, paper_rows, small_print

    console = Console(highlight=False, markup=False)
    console.print(f"{comparison.measured_on}\n{lead_sentence(comparison)}\n")
    methods, differences = comparison.methods, comparison.differences
    for start in range(0, len(methods), _METHODS_A_TABLE):
        _print_rows("Mean [95 % interval]", mean_rows(methods[start : start + _METHODS_A_TABLE]))
    for start in range(0, len(differences), _METHODS_A_TABLE):
        title = f"Difference from {comparison.methods[0].method}, image by image"
        _print_rows(title, difference_rows(differences[start : start + _METHODS_A_TABLE]))
    for table in comparison.paper_tables:
        _print_rows(table.title, paper_rows(table))
        for sentence in small_print(table):
            console.print(f"  {sentence}", style="dim")
        console.print()
    for metric in comparison.left_out:
        console.print(shown(f"{metric.title} is left out: {metric.reason}; {metric.fix}."))
    for reason, number in comparison.rejects.items():
        console.print(f"refused: {number} × {reason}")
    console.print(f"Results: {comparison.results}\nPage: {comparison.report}", soft_wrap=True)


def _print_rows(title: str, rows: list[dict[str, str]]) -> None:
    from flows.report.tables import TEXT_COLUMNS

    console = Console(highlight=False, markup=False)
    console.print(title, style="bold")
    table = Table(header_style="dim", box=None)
    for name in rows[0]:
        table.add_column(name, justify="left" if name in TEXT_COLUMNS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(shown, row.values()))
    console.print(table)
    console.print()
