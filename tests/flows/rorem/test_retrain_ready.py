"""When a retraining is asked for, and that the same version starts one run however many ask at once."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun

from data_specs.shard import ShardRef
from flows.rorem.retrain import (
    READY_EVENT,
    RetrainConfig,
    RetrainTrigger,
    ask_for_retraining,
    grown_since_training,
    retrain,
)
from tasks.storage.dataset import create_version, selection_of
from tasks.storage.shards import ShardReader, decode_triplet, encode_triplet, write_shard
from tasks.storage.workspace import Workspace

DEPLOYMENT = "retrain/for-tests"


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployed(client: SyncPrefectClient, studio: SimpleNamespace) -> SimpleNamespace:
    config = {"workspace": "elsewhere", "seed": 7}
    studio.deployment = client.create_deployment(
        flow_id=client.create_flow(retrain), name="for-tests", parameters={"config": config}
    )
    return studio


def runs_of(client: SyncPrefectClient, studio: SimpleNamespace) -> list[FlowRun]:
    mine = [run for run in client.read_flow_runs() if run.deployment_id == studio.deployment]
    return [run for run in mine if run.parameters["config"]["workspace"] == str(studio.workspace.root)]


def grow(studio: SimpleNamespace, count: int) -> int:
    """A version with ``count`` more triplets that count as grown."""
    workspace: Workspace = studio.workspace
    with ShardReader(workspace, [studio.tests]) as reader:
        found = [decode_triplet(reader[place]) for place in range(count)]
    samples = [
        encode_triplet(replace(each, key=f"grown-{count}-{each.key}", split="train"), "png") for each in found
    ]
    ref: ShardRef = write_shard(
        workspace, stage="grown", round=0, index=count, input_digest=f"grown {count}", samples=samples
    )
    current = workspace.ledger().versions.current()
    assert current is not None
    selection = [*selection_of(workspace, current.number), (ref, None)]
    return create_version(workspace, selection, current.number, f"{count} more").number


def until_told(client: SyncPrefectClient, versions: set[int]) -> list[dict[str, int]]:
    """The events' payloads of some versions; events travel by themselves and arrive when they arrive."""
    deadline = time.monotonic() + 60
    while True:
        wanted = {"filter": {"event": {"name": [READY_EVENT]}}}
        events = client.request("POST", "/events/filter", json=wanted).json()["events"]
        found = [event["payload"] for event in events if event["payload"]["version"] in versions]
        if {each["version"] for each in found} == versions:
            return found
        assert time.monotonic() < deadline, f"only {found} were told"
        time.sleep(0.2)


def test_too_little_growth_asks_for_nothing(client: SyncPrefectClient, deployed: SimpleNamespace) -> None:
    grow(deployed, 4)
    assert ask_for_retraining(deployed.workspace, RetrainTrigger(after=5, deployment=DEPLOYMENT)) is None
    assert runs_of(client, deployed) == []


def test_many_who_ask_at_once_start_one_run_a_version(
    client: SyncPrefectClient, deployed: SimpleNamespace
) -> None:
    trigger, workspace = RetrainTrigger(after=4, deployment=DEPLOYMENT), deployed.workspace
    first = grow(deployed, 4)
    with ThreadPoolExecutor(8) as askers:
        answers = list(askers.map(lambda _: ask_for_retraining(workspace, trigger), range(8)))
    (run,) = runs_of(client, deployed)
    assert set(answers) == {run.id}
    assert run.parameters == {"config": {"workspace": str(workspace.root), "seed": 7, "version": first}}
    assert RetrainConfig.model_validate(run.parameters["config"]).version == first
    second = grow(deployed, 3)
    ask_for_retraining(workspace, trigger)
    assert sorted(run.parameters["config"]["version"] for run in runs_of(client, deployed)) == [first, second]
    told = until_told(client, {first, second})
    assert sorted((each["version"], each["grown"]) for each in told) == [(first, 4), (second, 7)]


def test_without_the_deployment_nothing_is_started_and_nothing_fails(
    client: SyncPrefectClient, studio: SimpleNamespace
) -> None:
    grow(studio, 4)
    assert ask_for_retraining(studio.workspace, RetrainTrigger(after=1, deployment="retrain/absent")) is None


def test_growth_counts_from_the_version_trained_on_last(studio: SimpleNamespace) -> None:
    workspace = studio.workspace
    grow(studio, 4)
    version = workspace.ledger().versions.current()
    assert version is not None
    assert grown_since_training(workspace, version) == 4
    entry = workspace.ledger().models.champion("remover")
    assert entry is not None
    distilled = {"hash": "distilled", "dataset_version": version.number, "distilled": True}
    workspace.ledger().models.record(entry.model_copy(update=distilled))
    assert grown_since_training(workspace, version) == 4, "a distilled remover learns from its teacher"
    trained = entry.model_copy(update={"hash": "another", "dataset_version": version.number})
    workspace.ledger().models.record(trained)
    assert grown_since_training(workspace, version) == 0
    grow(studio, 2)
    newer = workspace.ledger().versions.current()
    assert newer is not None
    assert grown_since_training(workspace, newer) == 2
