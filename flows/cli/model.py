"""`cleanplate model`: list, show, compare, promote, rollback, convert."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_specs.errors import InputError
from data_specs.model_record import ModelComparison, ModelKind, ModelRecord, ModelStanding
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ReasonOption,
    WorkspaceOption,
    clear_errors,
    existing_workspace,
    print_json,
    shown,
)

model_app = typer.Typer(
    name="model",
    help="List and compare trained models, promote one to champion, or go back to a former one. Convert "
    "published weights.",
    no_args_is_help=True,
)

_KINDS: tuple[ModelKind, ...] = get_args(ModelKind)
HashArgument = Annotated[str, typer.Argument(help="The model's hash, or its first letters.")]


@model_app.command("list")
@clear_errors
def list_command(
    kind: Annotated[str | None, typer.Option(help="Show only models of this kind, such as remover.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List the models, oldest first. The champion of each kind is marked.

    Example: cleanplate model list --kind remover
    """
    ledger = existing_workspace(workspace).ledger()
    wanted = None if kind is None else _kind(kind)
    models = ledger.models.all(wanted)
    champions = {record.kind: record.hash for kind in _KINDS if (record := ledger.models.champion(kind))}
    if as_json:
        print_json({"champions": champions, "models": [record.model_dump(mode="json") for record in models]})
        return
    table = Table("", "model", "kind", "from", "data", "made", box=None, header_style="dim")
    for model in models:
        table.add_row(
            "→" if champions.get(model.kind) == model.hash else "",
            model.hash,
            model.kind,
            (model.parent or "–")[:8],
            "–" if model.dataset_version is None else str(model.dataset_version),
            f"{model.created_at:%Y-%m-%d %H:%M}",
        )
    Console().print(table if models else "There is no model here yet; `cleanplate demo` makes some.")


@model_app.command("show")
@clear_errors
def show_command(
    model: HashArgument, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False
) -> None:
    """Show a model's card and its measurements, and check that its weights are unchanged.

    Example: cleanplate model show 3fa9
    """
    from tasks.registry.champions import standing_of

    standing = standing_of(existing_workspace(workspace), model)
    if as_json:
        print_json(standing.model_dump(mode="json"))
        return
    Console(highlight=False, markup=False).print(_card_table(standing))


@model_app.command("compare")
@clear_errors
def compare_command(
    first: HashArgument,
    second: HashArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Compare two models' figures, dataset versions and settings.

    Example: cleanplate model compare 3fa9 81c0
    """
    from tasks.registry.champions import compare

    comparison = compare(existing_workspace(workspace), first, second)
    if as_json:
        values = [{**value.model_dump(), "difference": value.difference} for value in comparison.values]
        print_json({**comparison.model_dump(mode="json"), "values": values})
        return
    _print_comparison(comparison)


@model_app.command("promote")
@clear_errors
def promote_command(
    model: HashArgument,
    reason: ReasonOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Check that a model's weights are unchanged, and make it the champion of its kind.

    Example: cleanplate model promote 3fa9 --reason "better on our own images"
    """
    from tasks.registry.champions import promote_now

    place = existing_workspace(workspace)
    kind = place.ledger().models.named(model).kind
    before = place.ledger().models.champion(kind)
    _tell_change(promote_now(place, model, reason), before, as_json)


@model_app.command("rollback")
@clear_errors
def rollback_command(
    reason: ReasonOption,
    model: Annotated[
        str | None, typer.Argument(help="Hash of a former champion. Default: the one before the present.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Kind of the champion.")] = "remover",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make the former champion lead again. Nothing is deleted. The same reason given twice goes back once.

    Example: cleanplate model rollback --reason "round 2 leaves shadows"
    """
    from tasks.registry.champions import rollback

    place = existing_workspace(workspace)
    before = place.ledger().models.champion(_kind(kind))
    _tell_change(rollback(place, _kind(kind), reason, model), before, as_json)


@model_app.command("convert")
@clear_errors
def convert_command(
    kind: Annotated[
        str,
        typer.Argument(
            help="sam (sam_vit_*.pth), yolo (yolo11*.pt), or discriminator (RORem's folder as released)."
        ),
    ],
    published: Annotated[Path, typer.Argument(help="The file or folder as published.")],
    folder: Annotated[Path, typer.Argument(help="The folder that gets the safetensors.")],
) -> None:
    """Convert published weights to safetensors, once. A pickle runs no code: a confined process reads it.

    Example: cleanplate model convert sam sam_vit_h_4b8939.pth weights/sam

    Example: cleanplate model convert discriminator RORem-discriminator weights/discriminator
    """
    from models.perception.convert import convert
    from models.rorem.released import convert_discriminator

    if kind == "discriminator":
        convert_discriminator(published, folder)
    elif kind in ("sam", "yolo"):
        convert(kind, published, folder)
    else:
        raise InputError("KIND", f"unknown kind {kind}; choose sam, yolo or discriminator")
    typer.echo(f"wrote {folder}")


def _kind(name: str) -> ModelKind:
    for kind in _KINDS:
        if name == kind:
            return kind
    raise InputError("--kind", f"unknown kind {name}; choose one of {', '.join(_KINDS)}")


def _tell_change(champion: ModelRecord, before: ModelRecord | None, as_json: bool) -> None:
    previous = None if before is None else before.hash
    if as_json:
        print_json({"champion": champion.hash, "before": previous, "kind": champion.kind})
        return
    was = "it was already" if previous == champion.hash else f"it was {previous}"
    Console(highlight=False, markup=False).print(
        f"the champion of kind {champion.kind} is now {champion.hash}; {was}"
    )


def _card_table(standing: ModelStanding) -> Table:
    record = standing.record
    table = Table(title=f"{record.kind} {record.hash}", show_header=False, title_justify="left", box=None)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows: list[tuple[str, Any]] = [
        ("champion", "yes" if standing.champion else "no"),
        ("made", f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("trained from", record.parent or "–"),
        ("dataset version", "–" if record.dataset_version is None else str(record.dataset_version)),
        ("code", record.git_revision or "unknown"),
        ("folder", record.path),
        ("weights", shown(standing.fault or _weights_words(record), "red" if standing.fault else "")),
    ]
    rows += [(f"training: {name}", f"{value:.4g}") for name, value in record.metrics.items()]
    for measurement in standing.measurements:
        where = measurement.measured_on + (
            f", version {measurement.dataset_version}" if measurement.dataset_version else ""
        )
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in measurement.values.items())
        rows.append((where, numbers))
    rows += [
        (f"{promotion.action} {promotion.promoted_at:%Y-%m-%d %H:%M}", promotion.reason)
        for promotion in standing.promotions
    ]
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else shown(cell) for cell in row))
    return table


def _weights_words(record: ModelRecord) -> str:
    if not record.weights:
        return "there; entered before checksums were kept"
    count = len(record.weights)
    return f"{count} file{'s' if count != 1 else ''}, as made"


def _print_comparison(comparison: ModelComparison) -> None:
    console = Console(highlight=False, markup=False)
    table = Table("", "first", "second", "difference", box=None, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, read in (("model", "hash"), ("trained from", "parent"), ("data", "dataset_version")):
        one, other = getattr(comparison.first, read), getattr(comparison.second, read)
        difference = _samples_words(comparison) if read == "dataset_version" else ""
        table.add_row(
            name, *("–" if value is None else str(value)[:20] for value in (one, other)), difference
        )
    for value in comparison.values:
        table.add_row(
            shown(f"{value.measured_on}: {value.name}"),
            *("–" if number is None else f"{number:.4g}" for number in (value.first, value.second)),
            "–" if value.difference is None else f"{value.difference:+.4g}",
        )
    console.print(table)
    for name, (one, other) in comparison.settings.items():
        console.print(shown(f"setting {name}: {one} → {other}"))


def _samples_words(comparison: ModelComparison) -> str:
    if comparison.samples_added is None:
        return "–"
    return f"+{comparison.samples_added} −{comparison.samples_removed} samples"
