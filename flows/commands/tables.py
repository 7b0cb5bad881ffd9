"""Tables for the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from data_specs.round import CycleResult, PhaseResult
from flows.report import tables, wording


def print_rows(title: str, rows: Sequence[dict[str, str]]) -> None:
    """The report's own rows as a terminal table."""
    if not rows:
        return
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)


def print_phases(phases: Sequence[PhaseResult]) -> None:
    """RORem's table 1; why a remover was kept was said when it was, and stands in the report."""
    rows = tables.phase_rows(phases)
    print_rows("Phases", [{name: cell for name, cell in row.items() if name != "why"} for row in rows])


def print_result(result: CycleResult) -> None:
    """The whole outcome, each table with its sentence."""
    console = Console(highlight=False)
    print_phases(result.phases)
    console.print(wording.success_sentence(result.phases))
    print_rows("\nJudges", tables.judge_rows(result.judges))
    for judge in result.judges:
        console.print(wording.judge_sentence(judge))
    print_rows("\nThe real clip", tables.clip_rows(result.clip))
    console.print(wording.clip_sentence(result.clip))
