"""`cleanplate train perception`: the tiny detectors and the segmenter, made again or measured again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import LARGEST, JsonOption, clear_errors, print_json
from flows.cli.training_bar import training_bar

if TYPE_CHECKING:
    from flows.train_perception import PerceptionCard


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
        int, typer.Option(min=1, max=LARGEST, help="Unseen studio scenes to measure on.")
    ] = 300,
    measure: Annotated[bool, typer.Option("--measure", help="Train nothing; measure what is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train perception's tiny models on the studio and the sample clip, and measure them on unseen scenes.

    Takes some minutes a model; killed and started again, it goes on from its checkpoint in OUT.work.

    Example: cleanplate train perception --out models/weights/perception --only sam
    """
    from flows.train_perception import PerceptionConfig, make_perception, measure_perception

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
