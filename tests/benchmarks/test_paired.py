"""Leads of one arm over another, paired by scene, against figures by hand."""

import pytest

from benchmarks._paired import paired


def test_the_lead_its_error_and_the_scenes_won_and_lost() -> None:
    ours = [[True, True, False, True], [True, False, True, True]]
    others = [[True, False, False, False], [True, True, False, True]]
    compared = paired(ours, others)
    # Differences: 0, 1, 0, 1 with variance 1/3, and 0, -1, 1, 0 with variance 2/3.
    assert (compared["won"], compared["lost"]) == (3, 1)
    assert compared["by_seed"] == [0.5, 0]
    assert compared["lead"] == 0.25
    assert compared["error"] == pytest.approx((1 / 12 + 1 / 6) ** 0.5 / 2)
