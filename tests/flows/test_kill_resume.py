"""A killed cycle ends as an unbroken one does: the benchmark's own code, with fewer kills."""

from pathlib import Path

import pytest

from benchmarks.kill_resume import kill_and_resume


@pytest.mark.slow
def test_a_cycle_killed_and_started_again_equals_an_unbroken_one(tmp_path: Path) -> None:
    outcome = kill_and_resume(tmp_path, kills=4, seed=1)
    assert outcome.kills == 4
    assert outcome.shards >= 15
    assert outcome.faults == []
    assert (outcome.lost, outcome.doubled, outcome.redone_shards) == (0, 0, 0)
    assert outcome.verify_clean
    assert outcome.ratio > 1
