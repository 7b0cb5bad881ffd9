"""The report's tables as rows of text, the same for the page and for Prefect."""

from collections.abc import Mapping, Sequence

from data_specs.compositing import CompositingResult
from data_specs.round import ClipResult, JudgeResult, PhaseResult

Row = dict[str, str]
"""Column heading to cell, in reading order."""

TEXT_COLUMNS = frozenset(
    {"phase", "remover kept?", "why", "judge of", "method", "metric", "reason", "to have it", "definition"}
    | {"setting", "value", "stage", "what", "step", "figures"}
)
"""Columns of words; all others hold numbers and are set flush right."""


def phase_rows(phases: Sequence[PhaseResult]) -> list[Row]:
    """RORem's table 1, a row a phase."""
    return [
        {
            "phase": phase.name,
            "tested": f"{phase.tested:,}" if phase.tested else "–",
            "kept": f"{phase.kept:,}" if phase.kept else "–",
            "total": f"{phase.total:,}" if phase.total else "–",
            "success %": f"{100 * phase.success_rate:.1f}",
            "95% interval": f"{100 * phase.success_low:.1f}–{100 * phase.success_high:.1f}",
            "PSNR effect dB": f"{phase.psnr_effect:.2f}",
            "PSNR background dB": f"{phase.psnr_background:.2f}",
            "remover kept?": "yes" if phase.promoted else "no",
            "why": phase.reason,
            "seconds": f"{phase.seconds:,.0f}",
        }
        for phase in phases
    ]


def judge_rows(judges: Sequence[JudgeResult]) -> list[Row]:
    """How far each round's judge can be trusted, on fresh items."""
    return [
        {
            "judge of": f"round {judge.round}",
            "reviews learnt from": f"{judge.reviewed:,}",
            "fresh items": f"{judge.tested:,}",
            "precision above 0.9": "kept none" if judge.precision is None else f"{judge.precision:.1%}",
            "base rate": f"{judge.base_rate:.1%}",
            "recall": f"{judge.recall:.1%}",
            "AUC": f"{judge.auc:.3f}",
            "calibration error": f"{judge.calibration_error:.3f}",
            "success gap, points": f"{100 * judge.success_gap:.1f}",
        }
        for judge in judges
    ]


def clip_rows(clip: Sequence[ClipResult]) -> list[Row]:
    """Each method on the real clip's held-out time block."""
    return [
        {
            "method": one.method,
            "triplets": f"{one.triplets:,}",
            "PSNR in mask dB": f"{one.psnr_mask:.2f}",
            "PSNR background dB": f"{one.psnr_background:.2f}",
        }
        for one in clip
    ]


def compositing_rows(result: CompositingResult) -> list[Row]:
    """A row for each split that was kept and for each reason that was not, stage by stage."""
    rows: list[Row] = []
    for stage in result.stages:
        counts = {f"kept: {split}": count for split, count in stage.by_split.items()}
        counts |= {f"refused: {why}": count for why, count in stage.rejects.items()}
        rows += [
            {"stage": stage.stage, "what": what, "count": f"{count:,}"} for what, count in counts.items()
        ]
    return rows


def reject_rows(rejects: Mapping[str, int]) -> list[Row]:
    """Rejects by reason, the commonest first."""
    ordered = sorted(rejects.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"reason": reason, "count": f"{count:,}"} for reason, count in ordered]


def setting_rows(settings: Mapping[str, object]) -> list[Row]:
    """What the run was asked to do."""
    return [{"setting": name, "value": str(value)} for name, value in settings.items()]
