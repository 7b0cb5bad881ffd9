"""The commands of RORem's cycle: demo, round, cycle; and training what is made beforehand."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from data_specs.round import ClipResult, CycleResult, DiscriminatorResult, PhaseResult
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    ConfigOption,
    JsonOption,
    ProcessesOption,
    ProfileOption,
    WorkspaceOption,
    clear_errors,
    configured,
    distributed_settings,
    shown,
)
from flows.cli.train import (
    train_base_command,
    train_discriminator_command,
    train_distilled_command,
    train_object_clear_command,
    train_perception_command,
    train_remover_command,
    train_shipped_object_clear_command,
)
from flows.report import wording

if TYPE_CHECKING:
    from data_specs.round import CycleResult
    from flows.rorem.cycle import CycleConfig

demo_app = typer.Typer(name="demo")
cycle_app = typer.Typer(name="cycle")
round_app = typer.Typer(name="round")
train_app = typer.Typer(
    name="train", no_args_is_help=True, help="Train a remover, a discriminator or one of the shipped models."
)

_SEED_HELP = "Seed of scenes, items and noise."
SeedOption = Annotated[int, typer.Option(min=0, max=LARGEST, help=_SEED_HELP)]
ConfiguredSeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, max=LARGEST, help=f"{_SEED_HELP} Default: --config, or 0.")
]


@demo_app.command()
@clear_errors
def demo(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    rounds: Annotated[
        int,
        typer.Option(min=0, max=9, help="Number of rounds. Each has a human phase and an automated phase."),
    ] = 2,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Run a whole small cycle on a real clip: two rounds, then a report. It takes minutes.

    After a kill, start it again and it continues.

    Example: cleanplate demo --rounds 1 --workspace /tmp/plates
    """
    # Read when torch is first imported. The tiny networks' steps are too small to share: a second thread adds
    # half as much CPU, and on a busy machine the two wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from flows.rorem.cycle import demo_config

    _run_cycle(demo_config(workspace, rounds, seed), as_json)


@cycle_app.command()
@clear_errors
def cycle(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=99,
            help="Number of rounds after the initialisation (RORem: 3). Default: --config, or 2.",
        ),
    ] = None,
    seed: ConfiguredSeedOption = None,
    processes: ProcessesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run RORem's cycle with your own settings: the initialisation, the rounds, and what follows them.

    Example: cleanplate cycle --rounds 3 --config sizes.json

    Example: cleanplate cycle --profile full --config cycle.json --processes 8
    """
    from flows.rorem.cycle import CycleConfig

    named = {"workspace": workspace, "profile": profile, "rounds": rounds, "seed": seed}
    named |= distributed_settings(processes=processes)
    _run_cycle(configured(CycleConfig, config, named), as_json)


@round_app.command()
@clear_errors
def round_(
    number: Annotated[int, typer.Argument(min=1, max=LARGEST, help="Number of the round. The first is 1.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = None,
    seed: ConfiguredSeedOption = None,
    processes: ProcessesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one round in a workspace that has an initial remover.

    People answer. The discriminator learns and scores. The dataset grows, and the remover is retrained.

    Example: cleanplate round 3 --workspace plates
    """
    from flows.cli.options import print_json
    from flows.rorem.config import RoundConfig
    from flows.rorem.round import rorem_round
    from flows.runtime.prefect_server import local_prefect
    from tasks.storage.workspace import Workspace

    named = {"workspace": workspace, "profile": profile, "round": number, "seed": seed}
    settings = configured(RoundConfig, config, named | distributed_settings(processes=processes))
    Workspace.open(settings.workspace)  # What is wrong with it is said before a server starts.
    with local_prefect(workspace / "prefect") as hint:
        outcome = rorem_round(settings)
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    else:
        from flows.cli.cycle import print_phases

        print_phases([outcome.human.result, outcome.automation.result])
        Console(stderr=True).print(hint, soft_wrap=True)


@train_app.callback()
def _train() -> None:
    """Train a remover, a discriminator, ObjectClear or one of the shipped models."""


train_app.command("remover")(train_remover_command)
train_app.command("discriminator")(train_discriminator_command)
train_app.command("distilled")(train_distilled_command)
train_app.command("object-clear")(train_object_clear_command)
train_app.command("perception")(train_perception_command)
train_app.command("base")(train_base_command)
train_app.command("shipped-object-clear")(train_shipped_object_clear_command)


def _run_cycle(config: "CycleConfig", as_json: bool) -> None:
    """Run, then print the table or the JSON, and how to look at it all."""
    from flows.cli.options import print_json
    from flows.rorem.cycle import peak_memory_gb, report_path, rorem_cycle
    from flows.runtime.prefect_server import local_prefect
    from tasks.storage.workspace import Workspace

    Workspace.open(config.workspace)  # What is wrong with it is said before a server starts.
    with local_prefect(config.workspace / "prefect") as hint:
        result: CycleResult = rorem_cycle(config)
    # The server's memory counts too, and is known only once it has ended.
    result = result.model_copy(update={"peak_memory_gb": peak_memory_gb()})
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        from flows.cli.cycle import print_result

        print_result(result)
    console = Console(stderr=True, highlight=False)
    place = Workspace(config.workspace.absolute())
    report = report_path(place)
    console.print()
    console.print(shown(f"The report: {report}"), soft_wrap=True)
    if place.address != str(place.root):
        console.print(shown(f"stored as {place.address}/{report.name}"), soft_wrap=True)
    console.print(hint, soft_wrap=True)


# Tables for the terminal, narrow enough for 80 columns.


def print_result(result: CycleResult) -> None:
    """The whole outcome, each table with its sentence."""
    print_phases(result.phases)
    console = Console(highlight=False)
    console.print(wording.success_sentence(result.phases) + "\n")
    if result.discriminators:
        _print_discriminators(result.discriminators)
        for discriminator in result.discriminators:
            console.print(wording.discriminator_sentence(discriminator))
        console.print()
    if result.clip:
        _print_clip(result.clip)
        console.print(wording.clip_sentence(result.clip))
    if result.composites:
        console.print(wording.pooled_sentence(result.composites))


def print_phases(phases: Sequence[PhaseResult]) -> None:
    """RORem's table 1; why a remover was kept was said when it was, and stands in the report."""
    table = _table("Phases", "phase", "tested", "kept", "total", "success %", "PSNR dB *", "new?", "s")
    for phase in phases:
        span = f"{100 * phase.success_low:.0f}–{100 * phase.success_high:.0f}"
        table.add_row(
            phase.name,
            str(phase.tested),
            str(phase.kept),
            str(phase.total),
            f"{100 * phase.success_rate:.1f} ({span})",
            f"{phase.psnr_effect:.1f} / {phase.psnr_background:.1f}",
            "yes" if phase.promoted else "no",
            f"{phase.seconds:.0f}",
        )
    Console().print(table)
    Console(highlight=False).print("* inside object and effect / outside")


def _print_discriminators(discriminators: Sequence[DiscriminatorResult]) -> None:
    table = _table(
        "Discriminators", "round", "reviews", "precision", "base rate", "recall", "AUC", "cal. error", "gap"
    )
    for discriminator in discriminators:
        table.add_row(
            str(discriminator.round),
            str(discriminator.reviewed),
            "–" if discriminator.precision is None else f"{discriminator.precision:.1%}",
            f"{discriminator.base_rate:.1%}",
            f"{discriminator.recall:.1%}",
            f"{discriminator.auc:.3f}",
            f"{discriminator.calibration_error:.3f}",
            f"{discriminator.success_gap:.1%}",
        )
    Console().print(table)


def _print_clip(clip: Sequence[ClipResult]) -> None:
    table = _table("The real clip", "method", "triplets", "PSNR in mask", "PSNR background")
    for entry in clip:
        numbers = (f"{entry.psnr_mask:.2f} dB", f"{entry.psnr_background:.2f} dB")
        table.add_row(entry.method, str(entry.triplets), *numbers)
    Console().print(table)


def _table(title: str, first: str, *columns: str) -> Table:
    """A table whose first column holds words and whose others hold numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
