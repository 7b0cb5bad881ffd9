"""The commands that train: a remover, a discriminator, a distilled remover, and the shipped models."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    ConfigOption,
    JsonOption,
    ProcessesOption,
    ProfileOption,
    VersionOption,
    WorkspaceOption,
    clear_errors,
    configured,
    distributed_settings,
    print_json,
)

if TYPE_CHECKING:
    from prefect import Flow

    from flows.shipped_models import PerceptionCard


Config = TypeVar("Config", bound=BaseModel)
Result = TypeVar("Result")


def _run_once(flow: "Flow[[Config], Result]", config: Config, workspace: Path) -> tuple[Result, str]:
    """Run a training. Prefect keeps the run of the first process; the others only call its function.

    Args:
        flow: The training.
        config: Its settings.
        workspace: Prefect's own server, if it is needed, keeps its files here.

    Returns:
        The flow's result, and how to look at its run. The latter is empty in the other processes.
    """
    from flows.runtime.prefect_server import local_prefect
    from models.training.distributed import is_first_process
    from tasks.storage.workspace import Workspace

    if not is_first_process():
        return flow.fn(config), ""
    Workspace.open(workspace)  # What is wrong with it is said before a server starts.
    with local_prefect(workspace / "prefect") as hint:
        return flow(config), hint


def _run_beside(flow: "Flow[[Config], Result]", config: Config, out: Path) -> Result:
    """Run a training that writes ``out``. Its workspace lies beside that until it is done."""
    from models.training.distributed import is_first_process
    from tasks.training.run import work_folder

    result, _ = _run_once(flow, config, work_folder(out))
    if is_first_process():
        shutil.rmtree(work_folder(out))
    return result


def _tell(result: BaseModel, sentence: str, hint: str, as_json: bool) -> None:
    """Print what was trained, once for all processes."""
    from models.training.distributed import is_first_process

    if not is_first_process():
        return
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        typer.echo(sentence)
        Console(stderr=True).print(hint, highlight=False, soft_wrap=True)


# Trainings on a workspace.


@clear_errors
def train_remover_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = None,
    version: VersionOption = None,
    parent: Annotated[
        str | None,
        typer.Option(
            help="The network where training starts: a folder, or the hash of a model. Default: the champion."
        ),
    ] = None,
    processes: ProcessesOption = None,
    sharding: Annotated[
        Literal["none", "fsdp"] | None,
        typer.Option(
            help="Whether each process holds the whole network (none) or a part (fsdp). Default: --config "
            "or the profile."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a remover on a dataset version. Started again after a kill, it continues from its checkpoint.

    The result does not depend on the number of processes. It may change when a training is resumed.

    Example: cleanplate train remover --profile full --parent weights/sdxl-inpainting --processes 8
    """
    from flows.rorem.train_remover import RemoverTrainingConfig, train_on_version

    named = {"workspace": workspace, "profile": profile, "version": version, "parent": parent}
    named |= distributed_settings(processes=processes, sharding=sharding)
    settings = configured(RemoverTrainingConfig, config, named)
    trained, hint = _run_once(train_on_version, settings, workspace)
    ref = trained.remover
    _tell(trained, f"trained {ref.hash}; it lies in {workspace / ref.folder}", hint, as_json)


@clear_errors
def train_discriminator_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = None,
    backbone: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the backbone network. Default: the workspace's first remover.", exists=True
        ),
    ] = None,
    processes: ProcessesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a discriminator on all reviews, and calibrate it on held-out items.

    After a kill, start it again and it continues.

    Example: cleanplate train discriminator --profile full --backbone weights/sdxl-inpainting --processes 8
    """
    from flows.rorem.discriminator import DiscriminatorTrainingConfig, train_on_reviews

    named = {"workspace": workspace, "profile": profile, "backbone": backbone}
    named |= distributed_settings(processes=processes)
    settings = configured(DiscriminatorTrainingConfig, config, named)
    trained, hint = _run_once(train_on_reviews, settings, workspace)
    ref, place = trained.discriminator, workspace / trained.discriminator.folder
    _tell(trained, f"trained {ref.hash} on {trained.reviewed} reviews; it lies in {place}", hint, as_json)


@clear_errors
def train_distilled_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = None,
    version: VersionOption = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="The teacher: a network's folder, or a model's hash. Default: the champion."),
    ] = None,
    processes: ProcessesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Distil a remover of many steps to four. It writes an LCM-LoRA and a remover with the LoRA merged in.

    After a kill, start it again and it continues from its checkpoint. `cleanplate remove --model FOLDER` uses
    the result. With diffusers, load FOLDER/lora into the teacher.

    Example: cleanplate train distilled --profile full --teacher 3fa9 --processes 8
    """
    from flows.rorem.train_remover import DistillationConfig, distil_on_version

    named = {"workspace": workspace, "profile": profile, "version": version, "teacher": teacher}
    named |= distributed_settings(processes=processes)
    settings = configured(DistillationConfig, config, named)
    trained, hint = _run_once(distil_on_version, settings, workspace)
    ref = trained.remover
    _tell(trained, f"distilled {ref.hash}; it lies in {workspace / ref.folder}", hint, as_json)


@clear_errors
def train_object_clear_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = None,
    version: VersionOption = None,
    parent: Annotated[
        Path | None,
        typer.Option(
            help="The folder where training starts: SDXL-inpainting or ObjectClear. Default at tiny size: "
            "the shipped ObjectClear."
        ),
    ] = None,
    image_encoder: Annotated[
        Path | None, typer.Option(help="The folder of CLIP's image encoder, if training starts from SDXL.")
    ] = None,
    processes: ProcessesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train ObjectClear on a dataset version: captured pairs, OBER and composites.

    After a kill, start it again and it continues from its checkpoint. `cleanplate remove --model FOLDER` uses
    the result.

    Example: cleanplate train object-clear --profile full --parent weights/sdxl --image-encoder weights/clip
    """
    from flows.objectclear.train_on_version import ObjectClearRunConfig, train_object_clear_on_version

    named = {"workspace": workspace, "profile": profile, "version": version}
    named |= {"parent": parent, "image_encoder": image_encoder} | distributed_settings(processes=processes)
    settings = configured(ObjectClearRunConfig, config, named)
    trained, hint = _run_once(train_object_clear_on_version, settings, workspace)
    _tell(trained, f"trained {trained.hash}; it lies in {workspace / trained.folder}", hint, as_json)


# Trainings of the models that ship with the package.


@clear_errors
def train_base_command(
    out: Annotated[Path, typer.Option(help="The folder to write. A cycle reads models/weights/base.")],
    steps: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Number of training steps. The shipped base has 8,000.")
    ] = 8000,
) -> None:
    """Train the tiny base, which replaces SDXL-inpainting, on synthetic scenes and the sample clip.

    This takes about an hour on one core. After a kill, start it again and it continues from its checkpoint
    in OUT.work.

    Example: cleanplate train base --out models/weights/base
    """
    from flows.shipped_models import BaseConfig, make_base

    config = BaseConfig(out=out)
    config = config.model_copy(update={"training": config.training.model_copy(update={"steps": steps})})
    _run_beside(make_base, config, out)
    typer.echo(f"wrote {out}")


@clear_errors
def train_shipped_object_clear_command(
    out: Annotated[
        Path, typer.Option(help="The folder to write. Removals read models/weights/object_clear.")
    ],
    config: ConfigOption = None,
) -> None:
    """Train ObjectClear's tiny image encoder and network on synthetic scenes, and measure the network.

    Shards and checkpoints are in OUT.work until the training ends. After a kill, start it again and it
    continues.

    Example: cleanplate train shipped-object-clear --out models/weights/object_clear
    """
    from flows.objectclear.train_model import ObjectClearTrainingConfig, make_object_clear

    settings = configured(ObjectClearTrainingConfig, config, {"out": out})
    if _run_beside(make_object_clear, settings, out) is not None:
        typer.echo(f"wrote {out}; its card.json has the measurements")


@clear_errors
def train_perception_command(
    out: Annotated[
        Path,
        typer.Option(
            help="The folder that gets one subfolder for each model. cleanplate reads "
            "models/weights/perception."
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(help="A model to train. Repeat it for more models. Default: all models."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST, help="Number of training steps. Default: each model's own."),
    ] = None,
    scenes: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Number of unseen synthetic scenes to measure on.")
    ] = 300,
    measure: Annotated[
        bool, typer.Option("--measure", help="Only measure the models that are there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the tiny perception models on synthetic scenes and the sample clip, and measure them.

    Each model takes some minutes. After a kill, start it again and it continues from its checkpoint in
    OUT.work.

    Example: cleanplate train perception --out models/weights/perception --only sam
    """
    from flows.shipped_models import PerceptionConfig, chosen, make_perception, measure_perception

    config = PerceptionConfig(out=out, only=tuple(only or ()), steps=steps, scenes=scenes)
    chosen(config.only, lambda _: None)  # A wrong name is told before a server starts.
    cards = measure_perception(config) if measure else _run_beside(make_perception, config, out)
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
