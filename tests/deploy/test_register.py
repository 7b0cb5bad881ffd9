"""The pools on a real server: whoever starts a run names no program, no environment and no folder."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from data_specs.errors import FlowError
from deploy.register import PROCESS_TEMPLATE, make_pools

NAME = "of-the-pools-test"
HARM: list[dict[str, Any]] = [
    {"command": "touch harm"},
    {"env": {"PYTHONSTARTUP": "harm.py"}},
    {"env.PYTHONSTARTUP": "harm.py"},
    {"working_dir": "/tmp"},
    {"image": "evil.example/harm"},
]


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """Of a server without pools; what is made there goes again."""

    def clear() -> None:
        for pool in client.read_work_pools():
            client.delete_work_pool(pool.name)

    with get_client(sync_client=True) as client:
        clear()
        yield client
        clear()
        for made in client.read_deployments():
            if made.name == NAME:
                client.delete_deployment(made.id)


@flow(name="harmless")
def harmless() -> None:
    """Never run."""


def refused(client: SyncPrefectClient, pool: str) -> list[int]:
    """What the server says to a run of a deployment in the pool that would choose something."""
    made = client.create_deployment(client.create_flow(harmless), name=NAME, work_pool_name=pool)
    said = []
    for job_variables in HARM:
        try:
            client.create_flow_run_from_deployment(made, job_variables=job_variables)
            said.append(201)
        except PrefectHTTPStatusError as error:
            said.append(error.response.status_code)
    assert client.create_flow_run_from_deployment(made).state is not None
    return said


def test_a_run_chooses_nothing(client: SyncPrefectClient) -> None:
    make_pools(client)
    for pool in ("cpu", "gpu"):
        assert client.read_work_pool(pool).type == "cleanplate-process"
        assert refused(client, pool) == [422] * len(HARM)


def test_pools_that_were_made_before_are_mended(client: SyncPrefectClient) -> None:
    before = ProcessWorker.get_default_base_job_template()
    client.create_work_pool(WorkPoolCreate(name="cpu", type="process", base_job_template=before))
    assert 201 in refused(client, "cpu"), "as it was"
    make_pools(client)
    assert client.read_work_pool("cpu").base_job_template == PROCESS_TEMPLATE
    assert refused(client, "cpu") == [422] * len(HARM)


def test_the_worker_takes_nothing_either(client: SyncPrefectClient) -> None:
    """Whatever reaches it: the server's check is not the only one."""
    make_pools(client)
    template = client.read_work_pool("cpu").base_job_template
    for job_variables in HARM:
        made = asyncio.run(ProcessJobConfiguration.from_template_and_values(template, job_variables))
        assert (made.command, made.env, made.working_dir) == (None, {}, None)


def test_a_pool_of_another_type_that_lets_them_choose_is_refused(client: SyncPrefectClient) -> None:
    free = {
        "job_configuration": {"image": "{{ image }}"},
        "variables": {"properties": {"image": {"type": "string"}, "cpus": {"type": "string"}}},
    }
    client.create_work_pool(WorkPoolCreate(name="gpu", type="docker", base_job_template=free))
    with pytest.raises(FlowError, match="a run of the pool gpu can choose its image"):
        make_pools(client)
