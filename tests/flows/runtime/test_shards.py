"""Task runs over shards: on worker processes as in the flow itself, and what happens when one fails."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from prefect import flow, task

from data_specs.errors import InputError
from flows.rorem.config import RoundConfig
from flows.runtime.shards import map_shards
from tasks.execution import INLINE, ProcessesConfig, WorkersConfig, workers_of
from tasks.execution.executor import Pool
from tasks.rorem.propose import ProposeWork, propose_shard
from tasks.storage.workspace import Workspace, items_of
from tests.flows.conftest import filmed

pytestmark = pytest.mark.usefixtures("prefect_server")
TWO = ProcessesConfig(count=2)


@flow
def proposing(workspace: Workspace, works: Sequence[ProposeWork], workers: WorkersConfig) -> list[Any]:
    return map_shards(propose_shard, workspace, works, workers, "candidates")


def test_processes_make_the_same_shards_in_the_same_order(studio, tmp_path: Path) -> None:
    import shutil

    keys = items_of(studio.workspace, [studio.pool])
    works = [
        ProposeWork(
            round=1, index=number, phase="human 1", purpose="human", pool=(studio.pool,), items=(key,),
            variants=("tight",), remover=studio.remover,
        )
        for number, key in enumerate(keys[:5])
    ]  # fmt: skip
    shutil.copytree(studio.workspace.root, tmp_path / "other")
    other = Workspace.open(tmp_path / "other")
    here = proposing(studio.workspace, works, INLINE)
    assert [ref.index for ref in here] == [0, 1, 2, 3, 4]
    assert proposing(other, works, TWO) == here
    counts = {what: count for what, (count, _) in other.ledger().costs.by_kind().items()}
    assert counts == {"propose": 5}
    pool = workers_of(TWO)
    assert isinstance(pool, Pool)
    pool.close()


def test_who_does_the_work_is_no_part_of_a_runs_name() -> None:
    named = RoundConfig().identity.key
    assert RoundConfig(workers=TWO).identity.key == named
    assert (
        RoundConfig.model_validate({"workers": {"kind": "ray", "address": "head:6379"}}).identity.key == named
    )
    assert RoundConfig(score_threshold=0.8).identity.key != named


def test_when_one_fails_no_other_begins(tmp_path: Path) -> None:
    begun: list[int] = []
    lock = Lock()

    @task
    def fail_at_two(workspace: Workspace, work: int, workers: WorkersConfig) -> int:
        with lock:
            begun.append(work)
        if work == 2:
            raise InputError("work 2", "is at fault")
        return work

    @flow
    def over_all() -> list[int]:
        return map_shards(fail_at_two, Workspace(tmp_path), list(range(60)), TWO, "works")

    with pytest.raises(InputError, match=r"^work 2: is at fault$"):
        over_all()
    assert {0, 1, 2} <= set(begun)
    assert len(begun) < 60, "the others were never started"


__all__ = ["filmed"]
