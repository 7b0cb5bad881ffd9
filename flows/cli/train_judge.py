"""`cleanplate train judge`: a judge on all that was reviewed, in one process or in many."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ProfileOption,
    WorkspaceOption,
    clear_errors,
    print_json,
)
from flows.cli.processes import ProcessesOption, in_processes
from flows.cli.settings import ConfigOption, configured
from flows.cli.training_bar import training_bar


@clear_errors
def train_judge_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "tiny",
    backbone: Annotated[
        Path | None,
        typer.Option(help="A network's folder to judge with; else the workspace's first.", exists=True),
    ] = None,
    processes: ProcessesOption = 1,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a judge on all reviews and calibrate it on items held out; killed, it goes on when started again.

    Example: cleanplate train judge --profile full --backbone sdxl-inpainting --processes 8
    """
    if in_processes(processes, sys.argv[1:]):
        return
    from flows.rorem.train_judge import JudgeTrainingConfig, train_on_reviews
    from models.training.distributed import is_first_process

    named = {"workspace": workspace, "profile": profile, "backbone": backbone}
    with training_bar() as (_, step):
        trained = train_on_reviews(configured(JudgeTrainingConfig, config, named), step)
    if not is_first_process():
        return
    if as_json:
        print_json(trained.model_dump(mode="json"))
    else:
        reviewed, ref = trained.reviewed, trained.judge
        typer.echo(f"trained {ref.hash} on {reviewed} reviews; it lies in {workspace / ref.folder}")
