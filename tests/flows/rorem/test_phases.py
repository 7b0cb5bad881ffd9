"""Champion and challenger, and a table's row, on figures made up by hand."""

import time
from pathlib import Path

import pytest

from data_specs.losses import TrainingLosses
from flows.rorem.cycle import loss_curve, peak_memory_gb
from flows.rorem.phases import Growth, Phase, PhaseStart, Retrained, compare, finish, finished
from models.rorem.remover import SamplingConfig
from tasks.evaluation.evaluate import Evaluation
from tasks.registry.removers import RemoverRef
from tasks.storage.workspace import Workspace


def evaluation(successes: int, psnr: float, tested: int = 50) -> Evaluation:
    return Evaluation(
        tested=tested,
        successes=successes,
        success_low=0.1,
        success_high=0.9,
        psnr_effect=psnr,
        psnr_background=33.0,
        faults={},
        passed=[n < successes for n in range(tested)],
        psnr=25.0,
    )


@pytest.mark.parametrize(
    ("challenger", "champion", "better", "why"),
    [
        ((30, 20.0), (29, 25.0), True, "succeeds more often: 60.0% against 58.0%"),
        ((29, 25.0), (30, 20.0), False, "succeeds no more often: 58.0% against 60.0%"),
        ((30, 20.1), (30, 20.0), True, "succeeds as often, and is closer to the truth"),
        ((30, 20.0), (30, 20.0), False, "succeeds no more often"),
        ((30, 19.0), (30, 20.0), False, "succeeds no more often"),
    ],
)
def test_the_challenger_must_be_better(challenger, champion, better: bool, why: str) -> None:
    won, reason = compare(evaluation(*challenger), evaluation(*champion))
    assert won is better
    assert reason.startswith(why)
    assert reason.endswith("on 50 validation pairs")


def test_a_row_holds_the_test_splits_figures(tmp_path: Path) -> None:
    ref = RemoverRef(hash="h", folder="f", sampling=SamplingConfig())
    kept = Retrained(
        PhaseStart(remover=ref, version=2),
        True,
        "better",
        13,
        evaluation(20, 21.5),
        "test split, all",
        TrainingLosses(means=(0.5,)),
    )
    workspace, phase = Workspace.open(tmp_path), Phase("run", "human 1", "human", 1)
    outcome = finish(workspace, phase, "human", kept, Growth(9, 4), time.monotonic() - 2)
    row = outcome.result
    assert (row.round, row.psnr, row.measured_on) == (1, 25.0, "test split, all")
    assert (row.success_rate, row.success_low, row.success_high) == (0.4, 0.1, 0.9)
    assert (row.psnr_effect, row.psnr_background) == (21.5, 33.0)
    assert (row.tested, row.kept, row.total) == (9, 4, 13)
    assert 2 <= row.seconds < 60
    assert finished(workspace, phase) == outcome


def test_a_curve_says_where_each_stretch_begins() -> None:
    curve = loss_curve("x", TrainingLosses.of([float(n) for n in range(1000)]))
    assert (curve.name, len(curve.losses)) == ("x", 200)
    assert curve.steps[:3] == [1, 6, 11]


def test_memory_is_in_gigabytes() -> None:
    assert 0.05 < peak_memory_gb() < 64
