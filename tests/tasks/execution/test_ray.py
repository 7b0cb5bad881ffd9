"""Ray's actors on a real cluster of this machine: they outlive who asks, and a killed one loses nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks._ray_cluster import ray_cluster
from data_specs.errors import InputError, WorkerError
from flows.runtime.prefect_server import free_port
from tasks.execution.executor import RayConfig, Workers
from tasks.execution.local_executors import open_workers
from tests.tasks.execution import jobs
from tests.tasks.execution.conftest import assert_each_once, loads, made_by, wait_until

ROOT = Path(__file__).resolve().parents[3]
# Looked for, not imported: Ray reads its token when it is imported, and the cluster makes one.
pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed; pip install 'cleanplate[ray]'"
)
ASKING = """
import sys
from data_specs.errors import WorkerError
from tasks.execution.executor import RayConfig
from tasks.execution.local_executors import open_workers
from tests.tasks.execution import jobs
try:
    print(open_workers(RayConfig(address=sys.argv[1])).run("x", jobs.own_pid, None).result)
except WorkerError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def config() -> Iterator[RayConfig]:
    """Two actors of a cluster of the tests' own."""
    with ray_cluster(cpus=2) as address:
        yield RayConfig(address=address, count=2)
        import ray  # pyright: ignore[reportMissingImports] - an extra

        ray.shutdown()


@pytest.fixture
def pool(config: RayConfig) -> Workers:
    return open_workers(config)


def asked_elsewhere(address: str) -> str:
    """What another process is told by the first worker of a cluster."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ASKING, address]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_second_process_gets_the_same_actor_and_leaves_it(config: RayConfig, pool: Workers) -> None:
    pid = pool.run("x", jobs.own_pid, None).result
    assert int(asked_elsewhere(config.address)) == pid != os.getpid()
    assert pool.run("x", jobs.own_pid, None).result == pid, "it lives on when the second process has ended"


def test_a_refusal_comes_back_as_it_was_raised(pool: Workers) -> None:
    with pytest.raises(InputError, match=r"^meta\.json: holds no list$"):
        pool.run("x", jobs.refuse, None)


@pytest.mark.slow
def test_work_that_kills_whoever_takes_it_ends_in_one_sentence(pool: Workers, tmp_path: Path) -> None:
    deaths = tmp_path / "deaths"
    with pytest.raises(WorkerError, match=r"^propose abc: 3 workers ended while they did it"):
        pool.run("propose abc", jobs.die, None, deaths)
    assert len(set(deaths.read_text().split())) == 3
    assert str(pool.run("x", jobs.own_pid, None).result) not in deaths.read_text().split()


@pytest.mark.slow
def test_two_hundred_shards_and_a_killed_actor(many, config: RayConfig) -> None:
    workspace = many.workspace

    def kill_one() -> None:
        wait_until(lambda: len(workspace.ledger().shards.all(stage="candidates")) >= 100)
        os.kill(loads(workspace)[0], signal.SIGKILL)

    assert len(many.works) == 208
    refs = made_by(workspace, many.works, config, kill_one)
    assert_each_once(workspace, many.works, refs)
    who = loads(workspace)
    assert len(who) == len(set(who)) == 3, "two actors and the one that took the dead one's place, once each"


@pytest.mark.slow
def test_an_actor_of_other_code_makes_room(pool: Workers, config: RayConfig, monkeypatch) -> None:
    from tasks.execution import ray_executor as ray_slot

    old = pool.run("x", jobs.own_pid, None).result
    monkeypatch.setattr(ray_slot, "code_digest", lambda: "newer")
    with pytest.raises(WorkerError, match=r"cannot start worker 0: .* has another version of cleanplate"):
        open_workers(config).run("x", jobs.own_pid, None)
    wait_until(lambda: not Path(f"/proc/{old}").exists(), 20)


@pytest.mark.slow
def test_without_a_cluster_the_sentence_says_how_to_start_one() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    said = asked_elsewhere(nowhere)
    assert said.startswith(f"no Ray cluster answers at {nowhere}; start one with `ray start --head")
