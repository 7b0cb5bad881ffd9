"""A training's losses are thinned, and their mean stays."""

import pytest

from data_specs.losses import POINTS, TrainingLosses


def test_thinned_losses_keep_the_mean() -> None:
    losses = [float(n) for n in range(1000)]
    thinned = TrainingLosses.of(losses)
    assert len(thinned.means) == len(thinned.steps) == POINTS
    assert thinned.steps[:3] == [1, 6, 11]
    assert thinned.means[0] == 2.0
    assert sum(thinned.means) / POINTS == pytest.approx(sum(losses) / 1000)


@pytest.mark.parametrize("count", [0, 1, 7, 199, 200, 201, 399, 50_000, 123_457])
def test_any_number_of_steps_gives_few_means(count: int) -> None:
    thinned = TrainingLosses.of([1.5] * count)
    assert len(thinned.means) <= POINTS
    assert set(thinned.means) <= {1.5}
    assert len(thinned.means) == count or count > POINTS
    assert all(step <= count for step in thinned.steps)


def test_the_last_stretch_may_be_shorter() -> None:
    thinned = TrainingLosses.of([1.0] * 200 + [3.0])
    assert (thinned.stretch, thinned.means[-1], thinned.steps[-1]) == (2, 3.0, 201)
    assert TrainingLosses.model_validate_json(thinned.model_dump_json()) == thinned
