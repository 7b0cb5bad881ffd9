"""`cleanplate review export` and `import`: for teams that answer in a tool of their own."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from data_specs.review import ExchangeFormat
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    clear_errors,
    existing_workspace,
    no_pipe,
    print_json,
    shown,
)

exchange_app = typer.Typer()


@exchange_app.command("export")
@clear_errors
def export_command(
    out: Annotated[Path, typer.Argument(help="The folder to write; its pictures lie in `pictures`.")],
    kind: Annotated[ExchangeFormat, typer.Option("--format", help="For which tool.")] = "label-studio",
    batch: Annotated[
        str | None, typer.Option(help="A review batch's candidates; by default all for training.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write candidates and their pictures for another tool; done again it writes the same files.

    Label Studio: make a project with config.xml, start it with
    LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=OUT,
    import tasks.json, and export as JSON. CSV and Parquet: fill in decision (yes, no, skip) and reviewer.

    Example: cleanplate review export --format csv answers --batch human-1-3f2a9c1b
    """
    from tasks.review.exchange import export_candidates

    place = existing_workspace(workspace)
    ledger = place.ledger()
    keys = (
        None if batch is None else {item.candidate for item in ledger.batch_items(ledger.batch(batch).name)}
    )
    report = export_candidates(place, ledger.shards(stage="candidates"), keys, kind, out)
    if as_json:
        print_json(report.model_dump())
        return
    files = ", ".join(str(out / name) for name in report.files)
    told = f"{report.candidates} candidates, {report.answers} answers so far: {files}"
    Console().print(shown(told), soft_wrap=True)


@exchange_app.command("import")
@clear_errors
def import_command(
    path: Annotated[
        Path,
        typer.Argument(
            callback=no_pipe, help="Label Studio's export as .json, or the table, .csv or .parquet."
        ),
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Bring in answers from another tool; the same file twice adds nothing. What is refused is kept.

    A round that waits for them goes on with `cleanplate review resume BATCH`.

    Example: cleanplate review import answers/answers.csv
    """
    from tasks.review.exchange import import_answers

    report = import_answers(existing_workspace(workspace), path)
    if as_json:
        print_json(report.model_dump())
        return
    console = Console()
    console.print(
        f"{report.added} answers added; {report.known} were known, {report.unanswered} rows are unanswered"
    )
    for reason, number in report.refused.items():
        console.print(f"[yellow]{number} refused[/]: {reason}")
