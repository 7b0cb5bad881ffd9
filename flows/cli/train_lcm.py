"""`cleanplate train lcm`: a remover distilled to four steps, in one process or in many."""

import sys
from typing import Annotated

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
def train_lcm_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "tiny",
    version: VersionOption = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="A network's folder, or a model's hash, to distil; else the remover in charge."),
    ] = None,
    processes: ProcessesOption = 1,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Distil a remover of many steps to four: an LCM-LoRA, and a remover that has it worked in.

    Killed and started again, it goes on from its checkpoint. `cleanplate remove --model FOLDER` uses
    what it made; diffusers loads FOLDER/lora upon the teacher.

    Example: cleanplate train lcm --profile full --teacher 3fa9 --processes 8
    """
    if in_processes(processes, sys.argv[1:]):
        return
    from flows.rorem.distil_remover import DistillationConfig, distil_on_version
    from models.training.distributed import is_first_process

    named = {"workspace": workspace, "profile": profile, "version": version, "teacher": teacher}
    with training_bar() as (_, step):
        trained = distil_on_version(configured(DistillationConfig, config, named), step)
    if not is_first_process():
        return
    if as_json:
        print_json(trained.model_dump(mode="json"))
    else:
        typer.echo(f"distilled {trained.remover.hash}; it lies in {workspace / trained.remover.folder}")
