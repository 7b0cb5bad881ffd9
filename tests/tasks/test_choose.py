"""Choosing pool items: never twice, the same again for the same phase, and a sentence when few are left."""

import pytest

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from tasks.choose import choose_items, items_of, pool_shards

choose = choose_items.fn


def test_nothing_is_drawn_twice_and_a_phase_is_drawn_once(studio) -> None:
    space = studio.workspace
    pool = items_of(space, [studio.pool])
    first = choose(space, "human 1", 10, 0)
    second = choose(space, "automation 1", 10, 0)
    assert len(set(first + second)) == 20
    assert set(first + second) < set(pool)
    assert choose(space, "human 1", 10, 0) == first
    assert choose(space, "human 1", 99, 7) == first, "a phase that has begun keeps its items"
    with pytest.raises(FlowError, match="the pool has 4 unused items and human 2 needs 5"):
        choose(space, f"{derive_key('a run')} human 2", 5, 0)
    assert set(choose(space, "human 2", 4, 0)) == set(pool) - set(first) - set(second)


def test_the_seed_decides_and_not_the_pools_order(studio) -> None:
    pool = items_of(studio.workspace, [studio.pool])
    first = choose(studio.workspace, "a", 8, 0)
    assert first != pool[:8]
    assert choose(studio.workspace, "b", 8, 1) != first


def test_only_the_training_split_is_offered(studio) -> None:
    assert pool_shards(studio.workspace, "train") == [studio.pool]
    assert pool_shards(studio.workspace, "validation") == [studio.fresh]
    assert pool_shards(studio.workspace, "test") == []
