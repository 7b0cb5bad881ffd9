"""Worker processes: they keep their weights, die alone, and end with whoever started them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_specs.errors import DiskFullError, InputError, WorkerError
from tasks.execution import local_executors as registry
from tasks.execution import run_shard
from tasks.execution.executor import INLINE, TRIES, Pool, ProcessesConfig
from tasks.execution.local_executors import ProcessSlot, open_workers, workers_of
from tasks.rorem.propose import propose
from tasks.storage.workspace import LEDGER_VARIABLE, Workspace
from tests.tasks.execution import jobs
from tests.tasks.execution.conftest import assert_each_once, loads, made_by, wait_until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def pair():
    """Two worker processes."""
    pool = open_workers(ProcessesConfig(count=2))
    assert isinstance(pool, Pool)
    yield pool
    pool.close()


def test_an_inline_worker_is_this_process() -> None:
    assert workers_of(INLINE).run("x", jobs.own_pid, None).result == os.getpid()


def test_one_free_worker_is_asked_again_and_is_another_process(pair: Pool) -> None:
    pids = {pair.run("x", jobs.own_pid, None).result for _ in range(5)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_a_refusal_comes_back_as_it_was_raised_and_kills_nobody(pair: Pool) -> None:
    before = pair.run("x", jobs.own_pid, None).result
    with pytest.raises(InputError, match=r"^meta\.json: holds no list$") as caught:
        pair.run("x", jobs.refuse, None)
    assert (caught.value.where, caught.value.fault) == ("meta.json", "holds no list")
    with pytest.raises(DiskFullError, match=r"^/data/shards: No space left on device; free some space"):
        pair.run("x", jobs.fill_the_disk, None)
    assert pair.run("x", jobs.own_pid, None).result == before


def test_work_that_kills_whoever_takes_it_ends_in_one_sentence(pair: Pool, tmp_path: Path) -> None:
    deaths = tmp_path / "deaths"
    with pytest.raises(WorkerError, match=r"^propose abc: 3 workers ended while they did it"):
        pair.run("propose abc", jobs.die, None, deaths)
    assert len(set(deaths.read_text().split())) == TRIES == 3
    assert pair.run("x", jobs.own_pid, None).result != os.getpid(), "the next one is served"


def test_seconds_are_those_of_the_worker(pair: Pool) -> None:
    spent = pair.run("x", jobs.spin, None, 0.3).seconds
    assert spent.cpu >= 0.3, "not this process's, which only waits"
    assert spent.wall >= 0.25
    assert spent.gpu == 0


def test_a_worker_with_another_ledger_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, workspace = ProcessesConfig(count=1), Workspace.open(tmp_path / "workspace")
    assert run_shard(one, workspace, "x", "1", jobs.own_pid) != os.getpid()
    monkeypatch.setenv(LEDGER_VARIABLE, f"sqlite:///{tmp_path / 'other.sqlite'}")
    with pytest.raises(
        WorkerError, match=r"has another ledger than the flow; .* with the same CLEANPLATE_LEDGER"
    ):
        run_shard(one, workspace, "x", "2", jobs.own_pid)
    used = workers_of(one)
    assert isinstance(used, Pool)
    used.close()


def test_each_process_sees_the_gpu_it_was_given() -> None:
    pool = Pool([ProcessSlot("5", 1)])
    assert pool.run("x", jobs.seen_gpus, None).result == "5"
    pool.close()


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(registry, "own_cores", lambda: 2)
    pool = open_workers(ProcessesConfig(count=2))
    assert isinstance(pool, Pool)
    assert pool.run("x", jobs.numeric_threads, None).result == 1
    pool.close()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, time\n"
        "from tasks.execution.executor import Pool\n"
        "from tasks.execution.local_executors import ProcessSlot\n"
        "from tests.tasks.execution import jobs\n"
        "if __name__ == '__main__':\n"
        "    pool = Pool([ProcessSlot(None, 1)])\n"
        "    print(pool.run('x', jobs.own_pid, None).result, flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert _alive(worker)
    parent.kill()
    parent.wait()
    wait_until(lambda: not _alive(worker), 20)


@pytest.mark.slow
def test_shards_of_two_processes_are_those_of_one_and_a_dead_process_loses_none(many) -> None:
    works, workspace = many.works[:40], many.workspace
    config = ProcessesConfig(count=2)

    def kill_one() -> None:
        wait_until(lambda: len(workspace.ledger().shards.all(stage="candidates")) >= 8)
        os.kill(loads(workspace)[0], signal.SIGKILL)

    refs = made_by(workspace, works, config, kill_one)
    assert_each_once(workspace, works, refs)
    assert 2 <= len(loads(workspace)) == len(set(loads(workspace))) <= 3, (
        "once a process; the third replaced one"
    )
    alone = Workspace.open(workspace.root.parent / "alone")
    _copy_inputs(workspace, alone)
    assert [propose(alone, work) for work in works[:6]] == refs[:6], "names, sizes and sha256 of the bytes"
    used = workers_of(config)
    assert isinstance(used, Pool)
    used.close()


def _copy_inputs(workspace: Workspace, to: Workspace) -> None:
    """The pool's shard and the remover, so that another workspace can do the same work."""
    import shutil

    shutil.copytree(workspace.models_dir, to.models_dir, dirs_exist_ok=True)
    ledger, other = workspace.ledger(), to.ledger()
    for ref in ledger.shards.all(stage="pool"):
        for path in workspace.shards_dir.glob(f"{ref.name}*"):
            shutil.copy(path, to.shards_dir)
        other.shards.commit(ref, ledger.shards.samples_of(ref.name))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
