"""Tables for the terminal, narrow enough for 80 columns."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from data_specs.round import ClipResult, CycleResult, JudgeResult, PhaseResult
from flows.report import wording


def print_result(result: CycleResult) -> None:
    """The whole outcome, each table with its sentence."""
    print_phases(result.phases)
    console = Console(highlight=False)
    console.print(wording.success_sentence(result.phases) + "\n")
    if result.judges:
        _print_judges(result.judges)
        for judge in result.judges:
            console.print(wording.judge_sentence(judge))
        console.print()
    if result.clip:
        _print_clip(result.clip)
        console.print(wording.clip_sentence(result.clip))
    if result.composites:
        console.print(wording.pooled_sentence(result.composites))


def print_phases(phases: Sequence[PhaseResult]) -> None:
    """RORem's table 1; why a remover was kept was said when it was, and stands in the report."""
    table = _table("Phases", "phase", "tested", "kept", "total", "success %", "PSNR dB *", "new?", "s")
    for phase in phases:
        span = f"{100 * phase.success_low:.0f}–{100 * phase.success_high:.0f}"
        table.add_row(
            phase.name,
            str(phase.tested),
            str(phase.kept),
            str(phase.total),
            f"{100 * phase.success_rate:.1f} ({span})",
            f"{phase.psnr_effect:.1f} / {phase.psnr_background:.1f}",
            "yes" if phase.promoted else "no",
            f"{phase.seconds:.0f}",
        )
    Console().print(table)
    Console(highlight=False).print("* inside object and effect / outside")


def _print_judges(judges: Sequence[JudgeResult]) -> None:
    table = _table(
        "Judges", "round", "reviews", "precision", "base rate", "recall", "AUC", "cal. error", "gap"
    )
    for judge in judges:
        table.add_row(
            str(judge.round),
            str(judge.reviewed),
            "–" if judge.precision is None else f"{judge.precision:.1%}",
            f"{judge.base_rate:.1%}",
            f"{judge.recall:.1%}",
            f"{judge.auc:.3f}",
            f"{judge.calibration_error:.3f}",
            f"{judge.success_gap:.1%}",
        )
    Console().print(table)


def _print_clip(clip: Sequence[ClipResult]) -> None:
    table = _table("The real clip", "method", "triplets", "PSNR in mask", "PSNR background")
    for entry in clip:
        numbers = (f"{entry.psnr_mask:.2f} dB", f"{entry.psnr_background:.2f} dB")
        table.add_row(entry.method, str(entry.triplets), *numbers)
    Console().print(table)


def _table(title: str, first: str, *columns: str) -> Table:
    """A table whose first column holds words and whose others hold numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
