"""`cleanplate composite`: ObjectClear's compositing, from pairs and backgrounds to composites."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    ConfigOption,
    JsonOption,
    WorkspaceOption,
    clear_errors,
    configured,
    print_json,
    shown,
)

if TYPE_CHECKING:
    from data_specs.composite import CompositingResult

composite_app = typer.Typer(name="composite")

PairsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--pairs",
        exists=True,
        file_okay=False,
        help="A folder with source/ and ground_truth/. Repeat it for more folders.",
    ),
]
BackgroundsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--backgrounds",
        exists=True,
        file_okay=False,
        help="A folder of photographs. Repeat it for more folders.",
    ),
]


@composite_app.command()
@clear_errors
def composite_command(
    pairs: PairsOption = None,
    backgrounds: BackgroundsOption = None,
    attempts: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST, help="Number of composites to attempt. Default: 300."),
    ] = None,
    size_px: Annotated[
        int, typer.Option("--size-px", min=64, max=2048, help="Side of the composites, in pixels.")
    ] = 512,
    add_to_pool: Annotated[
        bool, typer.Option("--add-to-pool", help="Add the composites to the pool, so that rounds draw them.")
    ] = False,
    add_to_dataset: Annotated[
        bool,
        typer.Option(
            "--add-to-dataset", help="Add the composites to the dataset, so that trainings use them."
        ),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Folder to export the composites to, as parquet in OBER's layout.", file_okay=False
        ),
    ] = None,
    config: ConfigOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Cut objects with their shadows out of captured pairs and put them on other backgrounds.

    Without --pairs or --backgrounds, synthetic ones are rendered. Refused samples are recorded with their
    reason.

    Example: cleanplate composite --pairs my-pairs --backgrounds my-photos --attempts 1000 --export ober
    """
    from flows.objectclear.compositing import CompositingConfig, objectclear_compositing
    from flows.runtime.prefect_server import local_prefect
    from tasks.objectclear.export_ober import export_ober
    from tasks.storage.workspace import Workspace

    named: dict[str, Any] = {"workspace": workspace}
    if attempts is not None:
        named["attempts"] = attempts
    if add_to_pool:
        named["add_to_pool"] = True
    if add_to_dataset:
        named["add_to_dataset"] = True
    if config is None:
        named |= {
            part: [{"kind": "synthetic", "renderer": {"size_px": size_px}}]
            for part in ("pairs", "backgrounds")
        }
    if pairs:
        named["pairs"] = [{"kind": "folder", "path": path, "longer_side_px": size_px} for path in pairs]
    if backgrounds:
        named["backgrounds"] = [{"kind": "folder", "path": path, "size_px": size_px} for path in backgrounds]
    settings = configured(CompositingConfig, config, named)
    place = Workspace.open(settings.workspace)
    with local_prefect(place.root / "prefect") as hint:
        result = objectclear_compositing(settings)
    rows = export_ober(place, export) if export else {}
    if as_json:
        print_json({**result.model_dump(mode="json"), "exported": rows})
        return
    console = Console()
    console.print(_table(result))
    console.print(shown(f"Contact sheets: {place.reports_dir / 'compositing'}"), soft_wrap=True)
    if settings.add_to_dataset:
        console.print(_dataset_sentence(result))
    if export:
        console.print(shown(f"Exported: {sum(rows.values())} rows in {export / 'data'}"), soft_wrap=True)
    console.print(hint, highlight=False, soft_wrap=True)


def _dataset_sentence(result: "CompositingResult") -> str:
    version = "no new version" if result.version is None else f"dataset version {result.version}"
    left = f" Left out: {result.left_out}, of a scene in another split." if result.left_out else ""
    return f"Composites new to the dataset: {result.added}, {version}.{left}"


def _table(result: "CompositingResult") -> Table:
    table = Table("stage", "", "number", title="composed")
    for stage in result.stages:
        for split, number in stage.by_split.items():
            table.add_row(stage.stage, f"kept: {split}", str(number))
        for reason, number in stage.rejects.items():
            table.add_row(stage.stage, f"refused: {reason}", str(number))
        for reason, number in stage.ignored.items():
            table.add_row(stage.stage, f"ignored: {reason}", str(number))
    return table
