"""The command line: `cleanplate`, every command in a file of its own, imported when it is called."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.runtime.timely_end import end_in_time

# Commands that are imported when they are called, so that `cleanplate --help` waits for none of them.

_COMPLETION = ("install_completion", "show_completion")
"""Options that typer gives to an app of its own, and that have no meaning below another."""


class LazyCommand(TyperCommand):
    """Stands for a command or group of another module: its name and line of help, until it is called."""

    def __init__(self, name: str, place: str, help_line: str) -> None:
        """``place``: ``module:attribute``, a ``typer.Typer``."""
        super().__init__(name, help=help_line)
        self._place = place

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The real command's context; from here on, typer deals with that one only."""
        module, attribute = self._place.split(":")
        real = typer.main.get_command(getattr(import_module(module), attribute))
        real.params = [parameter for parameter in real.params if parameter.name not in _COMPLETION]
        return real.make_context(info_name, args, parent=parent, **extra)


def lazy_group(commands: Sequence[LazyCommand]) -> type[TyperGroup]:
    """A group of these commands, in this order, beside those that it is given by decorators."""
    by_name = {str(command.name): command for command in commands}

    class LazyGroup(TyperGroup):
        """Lists the commands without importing them."""

        def list_commands(self, ctx: Any) -> list[str]:
            return [*by_name, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return by_name.get(cmd_name) or super().get_command(ctx, cmd_name)

        def main(self, *args: Any, **kwargs: Any) -> Any:
            """Ends with a sentence where standard output is full; where nobody reads it, without a word."""
            try:
                return super().main(*args, **kwargs)
            except OSError as error:
                from flows.cli.options import tell_lost_output

                tell_lost_output(error)
                sys.exit(1)

    return LazyGroup


# Read by OpenMP when torch is first imported, here and in every process started from here. By default threads
# spin while they wait for one another, and take the CPU from whoever they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = (
    LazyCommand("demo", "flows.cli.cycle:demo_app", "Run a whole small cycle, in minutes."),
    LazyCommand("cycle", "flows.cli.cycle:cycle_app", "Run RORem's cycle with your own settings."),
    LazyCommand("round", "flows.cli.cycle:round_app", "Run one round in a workspace."),
    LazyCommand(
        "train",
        "flows.cli.cycle:train_app",
        "Train a remover, a discriminator, ObjectClear or a shipped model.",
    ),
    LazyCommand(
        "ingest", "flows.cli.ingest:ingest_app", "Bring in pairs and images: a clip, folders, a pool."
    ),
    LazyCommand(
        "composite",
        "flows.cli.compose:composite_app",
        "Put cut-out objects with their shadows on backgrounds.",
    ),
    LazyCommand(
        "dataset", "flows.cli.dataset:dataset_app", "List, compare and verify the dataset's versions."
    ),
    LazyCommand("model", "flows.cli.model:model_app", "List, compare, promote and roll back trained models."),
    LazyCommand("review", "flows.cli.review:review_app", "Let people answer YES or NO on the review page."),
    LazyCommand(
        "evaluate",
        "flows.cli.evaluate:evaluate_app",
        "Measure removers on images with ground truth.",
    ),
    LazyCommand("remove", "flows.cli.remove:remove_app", "Remove objects from your own images."),
    LazyCommand("report", "flows.cli.report:report_app", "Report the results and the costs of the last day."),
    LazyCommand("metrics", "flows.cli.report:metrics_app", "Print the ledger's figures for Prometheus."),
    # Named only, never imported from here: the package `deploy` stands on this one.
    LazyCommand("serve", "deploy.serve_command:serve_app", "Run the flows on schedules, with workers."),
    LazyCommand(
        "doctor", "flows.cli.doctor:doctor_app", "Report what is missing on this machine and how to fix it."
    ),
)

LAST_WORDS = "cleanplate: stopped; start the same command again, and it continues\n"


class _Program(typer.Typer):
    """The command line as a program of its own, which a signal ends in time."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        end_in_time(LAST_WORDS)
        return super().__call__(*args, **kwargs)


app = _Program(
    name="cleanplate",
    cls=lazy_group(COMMANDS),
    help="A data engine for object removal. It makes training pairs, and trains and measures removers.",
    no_args_is_help=True,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"cleanplate {version('cleanplate')}")
        except PackageNotFoundError:
            typer.echo("cleanplate, not installed: run from its source")
        raise typer.Exit


@app.callback()
def _cleanplate(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A data engine for object removal. It makes training pairs, and trains and measures removers."""


if __name__ == "__main__":
    app()
