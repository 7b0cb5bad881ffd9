"""`cleanplate train remover`: a remover on a dataset version, in one process or in many."""

import sys
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, clear_errors, print_json
from flows.commands.settings import ConfigOption, configured
from flows.commands.training_bar import training_bar


@clear_errors
def train_remover_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: Annotated[
        str, typer.Option(help="tiny or full: whose settings stand where none are given.")
    ] = "tiny",
    version: Annotated[
        int | None, typer.Option(min=1, help="Of the dataset; the current one if none.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(
            help="What to begin from: a network's folder, or the hash of a model; else the remover in charge."
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="On this machine, one a GPU.")] = 1,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a remover on a dataset version; killed and started again, it goes on from its checkpoint.

    Any number of processes learns the same, and may take up what another number left.

    Example: cleanplate train remover --profile full --parent sdxl-inpainting --processes 8
    """
    from flows.commands.processes import in_processes

    if in_processes(processes, sys.argv[1:]):
        return
    from flows.train_remover import RemoverTrainingConfig, train_on_version
    from models.training.running import is_first_process

    named = {"workspace": workspace, "profile": profile, "version": version, "parent": parent}
    with training_bar() as (_, step):
        trained = train_on_version(configured(RemoverTrainingConfig, config, named), step)
    if not is_first_process():
        return
    if as_json:
        print_json(trained.model_dump(mode="json"))
    else:
        typer.echo(f"trained {trained.remover.hash}; it lies in {workspace / trained.remover.folder}")
