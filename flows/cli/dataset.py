"""`cleanplate dataset`: list, show, diff, verify, rollback, export."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from data_specs.errors import LedgerError
from data_specs.version import DatasetVersion, VerifyReport
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    JsonOption,
    ReasonOption,
    WorkspaceOption,
    clear_errors,
    existing_workspace,
    print_json,
    shown,
)

dataset_app = typer.Typer(
    name="dataset",
    help="List, compare and verify the dataset's versions, or go back to an older one.",
    no_args_is_help=True,
)

NumberArgument = Annotated[
    int, typer.Argument(min=1, max=LARGEST, help="Number of the version, as `list` shows it.")
]
_SHOWN_KEYS = 20


@dataset_app.command("list")
@clear_errors
def list_command(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List the versions, oldest first. The current one is marked.

    Example: cleanplate dataset list --workspace ./workspace
    """
    ledger = existing_workspace(workspace).ledger()
    versions, current = ledger.versions.all(), ledger.versions.current()
    number = None if current is None else current.number
    if as_json:
        print_json({"current": number, "versions": [version.model_dump(mode="json") for version in versions]})
        return
    table = Table("", "version", "from", "samples", "shards", "train / validation / test", "made", "note")
    for version in versions:
        splits = [str(version.by_split.get(split, 0)) for split in ("train", "validation", "test")]
        table.add_row(
            "→" if version.number == number else "",
            str(version.number),
            ", ".join(map(str, version.parents)) or "–",
            str(version.samples),
            str(version.shards),
            " / ".join(splits),
            f"{version.created_at:%Y-%m-%d %H:%M}",
            shown(version.note),
        )
    Console().print(table)


@dataset_app.command("show")
@clear_errors
def show_command(
    number: Annotated[
        int | None,
        typer.Argument(min=1, max=LARGEST, help="Number of the version. Default: the current one."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the contents of one version.

    Example: cleanplate dataset show 3
    """
    ledger = existing_workspace(workspace).ledger()
    current = ledger.versions.current()
    version = current if number is None else ledger.versions.numbered(number)
    if version is None:
        raise LedgerError(f"{workspace} has no dataset version yet; `cleanplate demo` makes some")
    is_current = current is not None and current.number == version.number
    if as_json:
        print_json({**version.model_dump(mode="json"), "current": is_current})
        return
    Console().print(_version_table(version, is_current))


@dataset_app.command("diff")
@clear_errors
def diff_command(
    before: NumberArgument,
    after: NumberArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show which samples the second version adds to the first, and which it drops.

    Example: cleanplate dataset diff 2 3
    """
    from tasks.storage.dataset import diff_versions

    diff = diff_versions(existing_workspace(workspace), before, after)
    if as_json:
        print_json(diff.model_dump(mode="json"))
        return
    console = Console()
    console.print(
        f"version {before} → {after}: [green]{len(diff.added)} added[/], "
        f"[red]{len(diff.removed)} removed[/], {diff.kept} kept"
    )
    for sign, keys in (("+", diff.added), ("-", diff.removed)):
        for key in keys[:_SHOWN_KEYS]:
            console.print(shown(f"{sign} {key}"))
        if len(keys) > _SHOWN_KEYS:
            console.print(f"{sign} … and {len(keys) - _SHOWN_KEYS} more (--json lists all)", highlight=False)


@dataset_app.command("verify")
@clear_errors
def verify_command(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Read every byte again and report what is missing, doubled, altered or orphaned. Exit 1 if anything is.

    Example: cleanplate dataset verify --json
    """
    from tasks.storage.dataset import verify_dataset

    place = existing_workspace(workspace)
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("verify", total=None)
        report = verify_dataset(place, lambda done, total: bar.update(task, completed=done, total=total))
    if as_json:
        print_json({**report.model_dump(mode="json"), "clean": report.clean})
    else:
        _print_report(report)
    if not report.clean:
        raise typer.Exit(1)


@dataset_app.command("rollback")
@clear_errors
def rollback_command(
    number: NumberArgument,
    reason: ReasonOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make an older version the current one. Nothing is rewritten, and the newer versions stay.

    Example: cleanplate dataset rollback 2 --reason "round 2 kept seams"
    """
    from tasks.storage.dataset import rollback

    place = existing_workspace(workspace)
    before = place.ledger().versions.current()
    version = rollback(place, number, reason)
    previous = None if before is None else before.number
    if as_json:
        print_json({"current": version.number, "before": previous})
        return
    Console().print(
        f"the current version is now {version.number} ({version.samples} samples); before it was {previous}"
    )


@dataset_app.command("export")
@clear_errors
def export_command(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="The folder to write. It is made if it is missing.")
    ],
    rows_per_file: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Number of rows in one parquet file.")
    ] = 2000,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write all composites as parquet in OBER's layout, which Hugging Face `datasets` reads.

    Example: cleanplate dataset export ./ober
    """
    from tasks.objectclear.export_ober import export_ober

    rows = export_ober(existing_workspace(workspace), folder, rows_per_file)
    if as_json:
        print_json({"folder": str(folder), "rows": rows})
        return
    counts = ", ".join(f"{number} {split}" for split, number in rows.items())
    Console().print(shown(f"wrote {counts} to {folder / 'data'}"), soft_wrap=True)


def _version_table(version: DatasetVersion, is_current: bool) -> Table:
    table = Table(title=f"dataset version {version.number}", show_header=False)
    table.add_row("current", "yes" if is_current else "no")
    table.add_row("note", shown(version.note))
    table.add_row("made", f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("grown from", ", ".join(map(str, version.parents)) or "–")
    table.add_row("samples", f"{version.samples} in {version.shards} shards")
    for name, counts in (("split", version.by_split), ("stage", version.by_stage)):
        for label, count in counts.items():
            table.add_row(shown(f"{name}: {label}"), str(count))
    table.add_row("file", shown(version.parquet))
    table.add_row("sha256", version.sha256)
    return table


def _print_report(report: VerifyReport) -> None:
    console = Console()
    read = (
        f"{report.versions} versions, {report.shards} shards, {report.samples} samples, "
        f"{report.bytes_read / 1e6:.1f} MB read"
    )
    if report.clean:
        console.print(f"[green]clean[/]: {read}")
        return
    table = Table("fault", "what", "detail", title=f"{len(report.faults)} faults in {read}")
    for fault in report.faults:
        table.add_row(shown(fault.kind, "red"), shown(fault.what), shown(fault.detail))
    console.print(table)
