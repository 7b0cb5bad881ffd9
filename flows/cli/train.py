"""`cleanplate train remover`: a remover on a dataset version, in one process or in many."""

import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    ConfigOption,
    JsonOption,
    ProfileOption,
    VersionOption,
    WorkspaceOption,
    clear_errors,
    configured,
    print_json,
)

# A training as the terminal shows it: a bar with loss, pace and the GPU's memory, or a line a minute.

_SECONDS_BETWEEN_LINES = 60.0
"""Where standard error is no terminal."""


@contextmanager
def training_bar() -> Iterator[tuple[Callable[[str], None], Callable[[int, int, float], None]]]:
    """What prints a line above the bar, and what is told of every step; silent but in the first process."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0", soft_wrap=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("training", total=None)
        began, first, said = time.monotonic(), 0, time.monotonic()

        def step(done: int, total: int, loss: float) -> None:
            nonlocal began, first, said
            if not first:  # a resumed training's pace is that of its own steps
                began, first = time.monotonic(), done
            pace = pace_of(done - first, time.monotonic() - began, loss)
            bars.update(bar, completed=done, total=total, description=pace)
            if not console.is_terminal and (
                done == total or time.monotonic() - said > _SECONDS_BETWEEN_LINES
            ):
                said = time.monotonic()
                console.print(f"step {done:,} of {total:,}: {pace}")

        yield partial(console.print, markup=False), step


def pace_of(steps: int, seconds: float, loss: float) -> str:
    """Loss, steps a second, and the most memory that this process has held on its GPU."""
    import torch

    parts = [f"loss {loss:.4f}"]
    if steps:
        parts.append(f"{steps / seconds:.2f} steps/s")
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB of GPU memory")
    return ", ".join(parts)


# `cleanplate train perception`: the tiny detectors and the segmenter, made again or measured again.

if TYPE_CHECKING:
    from flows.shipped_models import PerceptionCard


@clear_errors
def train_perception_command(
    out: Annotated[
        Path,
        typer.Option(help="A folder of folders, one a model; cleanplate reads models/weights/perception."),
    ],
    only: Annotated[
        list[str] | None, typer.Option(help="A model to make; may be repeated. Without it: all of them.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=LARGEST, help="Training steps; without it, each model's own.")
    ] = None,
    scenes: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Unseen synthetic scenes to measure on.")
    ] = 300,
    measure: Annotated[bool, typer.Option("--measure", help="Train nothing; measure what is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train perception's tiny models on synthetic scenes and the sample clip, and measure them.

    Takes some minutes a model; killed and started again, it goes on from its checkpoint in OUT.work.

    Example: cleanplate train perception --out models/weights/perception --only sam
    """
    from flows.shipped_models import PerceptionConfig, make_perception, measure_perception

    config = PerceptionConfig(out=out, only=tuple(only or ()), steps=steps, scenes=scenes)
    with training_bar() as (told, step):
        cards = measure_perception(config, told) if measure else make_perception(config, told, step)
    if as_json:
        print_json([card.model_dump(mode="json") for card in cards])
    else:
        _print_cards(cards)


def _print_cards(cards: "list[PerceptionCard]") -> None:
    for card in cards:
        table = Table(title=f"{card.model}: {card.scenes} unseen scenes", title_justify="left")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for name, value in card.measured.items():
            table.add_row(name, f"{value:.4g}")
        Console().print(table)


# A command in several processes of this machine, which train together.

ProcessesOption = Annotated[int, typer.Option(min=1, max=64, help="On this machine, one a GPU.")]


_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Those that torch's launcher handles."""


def in_processes(count: int, words: Sequence[str]) -> bool:
    """Run ``cleanplate WORDS`` in so many processes, unless this is one of them or one is enough.

    Torch's own launcher: gloo on CPUs, NCCL on GPUs. Several machines are had by
    `accelerate launch -m flows.cli.main WORDS`.

    Returns:
        False where the caller must do the work itself.

    Raises:
        typer.Exit: With 1 if a process failed; it has said why, and the others are ended.
    """
    if count == 1 or "LOCAL_RANK" in os.environ:
        return False
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    ours = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
    try:
        elastic_launch(config, sys.executable)("-m", "flows.cli.main", *words)
    except ChildFailedError as error:
        raise typer.Exit(1) from error
    except SignalException as told:
        # The launcher has put its handlers in the place of ours, which say what comes next.
        signal.signal(told.sigval, ours[told.sigval])
        signal.raise_signal(told.sigval)
    return True


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
        distributed = settings.distributed or PROFILES[settings.profile].distributed
        distributed = distributed.model_copy(update={"sharding": sharding})
        settings = settings.model_copy(update={"distributed": distributed})
    with training_bar() as (_, step):
        trained = train_on_version(settings, step)
    if not is_first_process():
        return
    if as_json:
        print_json(trained.model_dump(mode="json"))
    else:
        typer.echo(f"trained {trained.remover.hash}; it lies in {workspace / trained.remover.folder}")


# `cleanplate train discriminator`: a discriminator on all that was reviewed, in one process or in many.


@clear_errors
def train_discriminator_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "tiny",
    backbone: Annotated[
        Path | None,
        typer.Option(help="A network's folder to score with; else the workspace's first.", exists=True),
    ] = None,
    processes: ProcessesOption = 1,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a discriminator on all reviews and calibrate it on items held out.

    Killed, it goes on when started again.


    Example: cleanplate train discriminator --profile full --backbone sdxl-inpainting --processes 8
    """
    if in_processes(processes, sys.argv[1:]):
        return
    from flows.rorem.discriminator import DiscriminatorTrainingConfig, train_on_reviews
    from models.training.distributed import is_first_process

    named = {"workspace": workspace, "profile": profile, "backbone": backbone}
    with training_bar() as (_, step):
        trained = train_on_reviews(configured(DiscriminatorTrainingConfig, config, named), step)
    if not is_first_process():
        return
    if as_json:
        print_json(trained.model_dump(mode="json"))
    else:
        reviewed, ref = trained.reviewed, trained.discriminator
        typer.echo(f"trained {ref.hash} on {reviewed} reviews; it lies in {workspace / ref.folder}")


# `cleanplate train distilled`: a remover distilled to four steps, in one process or in many.


@clear_errors
def train_distilled_command(
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

    Example: cleanplate train distilled --profile full --teacher 3fa9 --processes 8
    """
    if in_processes(processes, sys.argv[1:]):
        return
    from flows.rorem.train_remover import DistillationConfig, distil_on_version
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
