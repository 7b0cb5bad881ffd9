"""`cleanplate train remover`: a remover on a dataset version, in one process or in many."""

import sys
from typing import Annotated, Literal

import typer

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ProfileOption,
    VersionOption,
    WorkspaceOption,
    clear_errors,
    print_json,
)
from flows.cli.processes import ProcessesOption, in_processes
from flows.cli.settings import ConfigOption, configured
from flows.cli.training_bar import training_bar


@clear_errors
def train_remover_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "tiny",
    version: VersionOption = None,
    parent: Annotated[
        str | None,
        typer.Option(
            help="What to begin from: a network's folder, or the hash of a model; else the remover in charge."
        ),
    ] = None,
    processes: ProcessesOption = 1,
    sharding: Annotated[
        Literal["none", "fsdp"] | None,
        typer.Option(
            help="The network whole in every process, or in pieces; else as --config or the profile."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a remover on a dataset version; killed and started again, it goes on from its checkpoint.

    Any number of processes learns the same, and may take up what another number left.

    Example: cleanplate train remover --profile full --parent sdxl-inpainting --processes 8
    """
    if in_processes(processes, sys.argv[1:]):
        return
    from flows.rorem.train_remover import RemoverTrainingConfig, train_on_version
    from models.profiles import PROFILES
    from models.training.distributed import is_first_process

    named = {"workspace": workspace, "profile": profile, "version": version, "parent": parent}
    settings = configured(RemoverTrainingConfig, config, named)
    if sharding is not None:
        running = settings.running or PROFILES[settings.profile].running
        running = running.model_copy(update={"sharding": sharding})
        settings = settings.model_copy(update={"running": running})
    with training_bar() as (_, step):
        trained = train_on_version(settings, step)
    if not is_first_process():
        return
    if as_json:
        print_json(trained.model_dump(mode="json"))
    else:
        typer.echo(f"trained {trained.remover.hash}; it lies in {workspace / trained.remover.folder}")
