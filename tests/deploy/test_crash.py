"""A served night comes back by itself: the benchmark's own code, with one kill of each kind."""

from pathlib import Path

import pytest

from benchmarks._postgresql import postgresql_programs
from benchmarks.crash import crash, night_config


@pytest.mark.slow
def test_a_night_with_one_kill_of_each_kind_equals_an_unbroken_one(tmp_path: Path) -> None:
    if postgresql_programs() is None:
        pytest.skip("PostgreSQL's initdb is neither in /usr/lib/postgresql/*/bin nor on PATH")
    outcome = crash(tmp_path, kills=4, kills_a_night=4, seed=1, config_of=night_config)
    assert outcome.kills == 4
    assert outcome.shards_a_night >= 30
    assert outcome.faults == []
    assert (outcome.lost, outcome.doubled, outcome.left_overs) == (0, 0, 0)
    assert outcome.verify_clean
    assert outcome.starts >= 2, "the flow was killed, and started again"
