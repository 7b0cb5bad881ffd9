"""The commands of RORem's cycle: demo, round, cycle; and training what is made beforehand."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    JsonOption,
    WorkspaceOption,
    clear_errors,
    shown,
)
from flows.cli.processes import ProcessesOption, in_processes
from flows.cli.settings import ConfigOption, configured
from flows.cli.train import train_remover_command
from flows.cli.train_judge import train_judge_command
from flows.cli.train_lcm import train_lcm_command
from flows.cli.train_perception import train_perception_command
from flows.cli.training_bar import training_bar

if TYPE_CHECKING:
    from data_specs.round import CycleResult
    from flows.rorem.cycle import CycleConfig

demo_app = typer.Typer(name="demo")
cycle_app = typer.Typer(name="cycle")
round_app = typer.Typer(name="round")
train_app = typer.Typer(
    name="train", no_args_is_help=True, help="Train a remover, or the models that are made beforehand."
)

SeedOption = Annotated[
    int, typer.Option(min=0, max=LARGEST, help="Another seed, other scenes, items and noise.")
]


@demo_app.command()
@clear_errors
def demo(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    rounds: Annotated[int, typer.Option(min=0, max=9, help="Rounds of people and judge.")] = 2,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Watch the whole cycle work: a real clip in, two rounds, a report out, in about ten minutes.

    Killed and started again, it goes on where it stood.

    Example: cleanplate demo --rounds 1 --workspace /tmp/plates
    """
    # Read when torch is first imported. The tiny networks' steps are too small to share: a second thread adds
    # half as much CPU, and on a busy machine the two wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from flows.rorem.demo import demo_config

    _run_cycle(demo_config(workspace, rounds, seed), as_json)


@cycle_app.command()
@clear_errors
def cycle(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    rounds: Annotated[int, typer.Option(min=0, max=99, help="Rounds after the initialisation.")] = 3,
    seed: SeedOption = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run RORem's cycle with your own settings: initialisation, then rounds.

    Example: cleanplate cycle --rounds 3 --config sizes.json
    """
    from flows.rorem.cycle import CycleConfig

    named = {"workspace": workspace, "rounds": rounds, "seed": seed}
    _run_cycle(configured(CycleConfig, config, named), as_json)


@round_app.command()
@clear_errors
def round_(
    number: Annotated[int, typer.Argument(min=1, max=LARGEST, help="Which round; the first is 1.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one round in a workspace that has an initial remover: people, judge, growth, retraining.

    Example: cleanplate round 3 --workspace plates
    """
    from flows.cli.options import print_json
    from flows.rorem.round import RoundConfig, rorem_round
    from flows.runtime.prefect_server import local_prefect
    from tasks.storage.workspace import Workspace

    settings = configured(RoundConfig, config, {"workspace": workspace, "round": number, "seed": seed})
    Workspace.open(settings.workspace)  # What is wrong with it is said before a server starts.
    with local_prefect(workspace / "prefect") as hint:
        outcome = rorem_round(settings)
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    else:
        from flows.cli.tables import print_phases

        print_phases([outcome.human.result, outcome.automation.result])
        Console(stderr=True).print(hint, soft_wrap=True)


@train_app.callback()
def _train() -> None:
    """Train a remover, or the models that are made beforehand."""


train_app.command("remover")(train_remover_command)
train_app.command("judge")(train_judge_command)
train_app.command("lcm")(train_lcm_command)
train_app.command("perception")(train_perception_command)


@train_app.command("base")
@clear_errors
def train_base_command(
    out: Annotated[Path, typer.Option(help="The folder to write; a cycle reads models/weights/base.")],
    steps: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Training steps; 8,000 made the shipped base.")
    ] = 8000,
) -> None:
    """Train the base that stands where SDXL-inpainting stands, on the studio and the sample clip.

    Takes about an hour on one core; killed and started again, it goes on from its checkpoint.

    Example: cleanplate train base --out models/weights/base
    """
    from flows.shipped_models import BaseConfig, make_base

    config = BaseConfig()
    config = config.model_copy(update={"training": config.training.model_copy(update={"steps": steps})})
    with training_bar() as (told, step):
        network = make_base(config, out.with_suffix(".checkpoint.safetensors"), told, step)
    network.save_small(out)
    out.with_suffix(".checkpoint.safetensors").unlink()
    typer.echo(f"wrote {out}")


@train_app.command("object-clear")
@clear_errors
def train_object_clear_command(
    out: Annotated[
        Path, typer.Option(help="The folder to write; removals read models/weights/object_clear.")
    ],
    processes: ProcessesOption = 1,
    config: ConfigOption = None,
) -> None:
    """Train ObjectClear's tiny network on the studio, beginning with its image encoder, and measure it.

    Its shards and checkpoints lie in OUT.work until it is done; killed and started again, it goes on there.

    Example: cleanplate train object-clear --out models/weights/object_clear
    """
    if in_processes(processes, sys.argv[1:]):
        return
    import shutil

    from flows.objectclear.train_model import ObjectClearConfig, make_object_clear
    from models.objectclear.pipeline import ObjectClearPipeline
    from models.training.distributed import first_process_first
    from tasks.storage.atomic_files import write_durably
    from tasks.storage.workspace import Workspace

    settings = configured(ObjectClearConfig, config, {})
    work = out.with_name(f"{out.name}.work")
    with first_process_first():
        workspace = Workspace.open(work)
    with training_bar() as (told, step):
        made = make_object_clear(settings, workspace, told, step)
    if made is None:
        return
    network, card = made
    network.save_small(out)
    settings_of_use = {"guidance_scale": 1.0, "num_inference_steps": card.sampling_steps}
    ObjectClearPipeline.of_network(network, **settings_of_use).save_config(out)
    write_durably(out / "card.json", (card.model_dump_json(indent=2) + "\n").encode())
    shutil.rmtree(work)
    typer.echo(f"wrote {out}; its card.json tells how good it is")


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
        from flows.cli.tables import print_result

        print_result(result)
    console = Console(stderr=True, highlight=False)
    place = Workspace(config.workspace.absolute())
    report = report_path(place)
    console.print()
    console.print(shown(f"The report: {report}"), soft_wrap=True)
    if place.address != str(place.root):
        console.print(shown(f"kept as {place.address}/{report.name}"), soft_wrap=True)
    console.print(hint, soft_wrap=True)
