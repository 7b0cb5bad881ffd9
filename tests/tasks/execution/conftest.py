"""A pool of 52 items and 208 small shards to make of it, and what must be true once all are made."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_specs.shard import ShardRef
from tasks.execution import WorkersConfig, run_shard
from tasks.rorem.propose import ProposeWork
from tasks.sources.synthetic.shards import render
from tasks.storage.dataset import verify_dataset
from tasks.storage.workspace import Workspace, items_of
from tests.tasks.conftest import render_work
from tests.tasks.execution.jobs import propose_counted

ITEMS = 52


@pytest.fixture
def many(studio: SimpleNamespace) -> SimpleNamespace:
    """The studio's workspace and remover, and 208 works of one candidate each."""
    pool = render(studio.workspace, render_work("pool", 9, "train", 7, ITEMS))
    keys = items_of(studio.workspace, [pool])
    works = [
        ProposeWork(
            round=1,
            index=4 * place + number,
            phase="human 1",
            purpose="human",
            pool=(pool,),
            items=(key,),
            variants=(variant,),
            remover=studio.remover,
        )
        for place, key in enumerate(keys)
        for number, variant in enumerate(("tight", "dilated", "left", "right"))
    ]
    return SimpleNamespace(workspace=studio.workspace, works=works)


def made_by(
    workspace: Workspace, works: Sequence[ProposeWork], workers: WorkersConfig, meanwhile: Callable[[], None]
) -> list[ShardRef]:
    """All shards, two threads asking at once, as a flow's task runs do; ``meanwhile`` runs beside them."""

    def make(work: ProposeWork) -> ShardRef:
        return run_shard(workers, workspace, "propose", work.digest, propose_counted, work)

    with ThreadPoolExecutor(3) as threads:
        beside = threads.submit(meanwhile)
        refs = list(ThreadPoolExecutor(2).map(make, works))
        beside.result()
    return refs


def loads(workspace: Workspace) -> list[int]:
    """Who read a network from its files, a process id each time."""
    notes = workspace.root / "loads.txt"
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


def wait_until(true: Callable[[], bool], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.25)


def assert_each_once(workspace: Workspace, works: Sequence[ProposeWork], refs: Sequence[ShardRef]) -> None:
    """One shard a work, in order, one row a candidate, one note of seconds, every byte as it was entered."""
    assert [ref.input_digest for ref in refs] == [work.digest for work in works]
    ledger = workspace.ledger()
    assert {ref.name for ref in ledger.shards.all(stage="candidates")} == {ref.name for ref in refs}
    keys = [row.key for ref in refs for row in ledger.shards.samples_of(ref.name)]
    assert len(keys) == len(set(keys)) == len(works)
    ((count, _),) = ledger.costs.by_kind().values()
    assert count == len(works)
    # Opening sweeps what dead workers left aside, and that only.
    assert verify_dataset(Workspace.open(workspace.root)).faults == []
    assert not [path for path in Path(workspace.shards_dir).iterdir() if ".aside" in path.name]
