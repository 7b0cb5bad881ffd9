"""deploy/prefect.yaml: read by Prefect, registered twice on a real server, fired around the clock changes."""

import ast
import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from prefect.cli.deploy._models import ConcurrencyLimitSpec, PrefectYamlModel, RawScheduleConfig
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL
from yaml import safe_load

from deploy.register import BRING_BACK, POOLS, PREFECT_FILE, QUEUES, register
from flows.nightly.candidates import NightlyCandidatesConfig
from flows.runtime.prefect_server import Server
from tasks.storage.object_store import stored_at, working_folder
from tasks.storage.object_store.address import CACHE_VARIABLE, STORE_FILE
from tasks.storage.workspace import Workspace

ROOT = Path(__file__).parents[2]
ZONE = "Europe/Berlin"


def written() -> PrefectYamlModel:
    return PrefectYamlModel.model_validate(safe_load(PREFECT_FILE.read_text()))


STARTED_BY_HAND = {
    "flows.objectclear.train_model.make_object_clear",
    "flows.objectclear.train_on_version.train_object_clear_on_version",
    "flows.rorem.discriminator.train_on_reviews",
    "flows.rorem.train_remover.distil_on_version",
    "flows.rorem.train_remover.train_on_version",
    "flows.shipped_models.make_base",
    "flows.shipped_models.make_perception",
}
"""`cleanplate train` runs these, in one process or in several; a round and `retrain` train by themselves."""


def test_every_flow_has_a_deployment() -> None:
    flows = set()
    for path in (ROOT / "flows").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            marks = node.decorator_list if isinstance(node, ast.FunctionDef) else []
            if any(isinstance(each, ast.Call) and getattr(each.func, "id", "") == "flow" for each in marks):
                assert isinstance(node, ast.FunctionDef)
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                flows.add(f"{module}.{node.name}")
    assert len(flows) >= 10
    assert flows >= STARTED_BY_HAND
    assert {deployment.entrypoint for deployment in written().deployments} == flows - STARTED_BY_HAND


def test_every_deployment_says_what_it_is_and_where_and_how_many_at_once() -> None:
    for deployment in written().deployments:
        assert deployment.description
        assert deployment.tags
        assert deployment.work_pool is not None
        assert (deployment.work_pool.name, deployment.work_pool.work_queue_name) in [
            (pool, queue) for pool in POOLS for queue in QUEUES
        ]
        if "cleanplate-maintenance" in deployment.tags:
            assert deployment.concurrency_limit is None, "dead reapers shut out no living one"
            assert "cleanplate" not in deployment.tags
            continue
        assert "cleanplate" in deployment.tags
        assert isinstance(deployment.concurrency_limit, ConcurrencyLimitSpec)
        assert deployment.concurrency_limit.limit == 1
        assert deployment.concurrency_limit.collision_strategy == "ENQUEUE"


def crons() -> dict[str, RawScheduleConfig]:
    return {
        str(deployment.entrypoint): schedule
        for deployment in written().deployments
        for schedule in deployment.schedules or []
        if isinstance(schedule, RawScheduleConfig) and schedule.cron
    }


def test_a_schedule_and_its_night_have_one_zone_and_none_lies_in_the_hour_that_is_absent_or_twice_there() -> (
    None
):
    assert len(crons()) == 5
    for schedule in crons().values():
        assert schedule.timezone == ZONE
        assert schedule.cron is not None
        assert schedule.cron.split()[1] != "2"
    for deployment in written().deployments:
        assert deployment.parameters["config"].get("timezone", ZONE) == ZONE


def fires(cron: str, first: datetime, days: int) -> list[datetime]:
    schedule = CronSchedule(cron=cron, timezone=ZONE)
    return list(asyncio.run(schedule.get_dates(100, first, first + timedelta(days=days))))


@pytest.mark.parametrize(
    ("sunday", "offsets"),
    [(datetime(2026, 10, 25), [2, 2, 2, 1, 1]), (datetime(2027, 3, 28), [1, 1, 1, 2, 2])],
)
@pytest.mark.parametrize(
    ("flow", "clock"),
    [("composites.nightly_compositing", "01:30"), ("candidates.nightly_candidates", "03:30")],
)
def test_a_night_comes_once_and_at_its_hour_around_both_clock_changes(
    sunday: datetime, offsets: list[int], flow: str, clock: str
) -> None:
    cron = crons()[f"flows.nightly.{flow}"].cron
    assert cron is not None
    first = (sunday - timedelta(days=2)).replace(tzinfo=ZoneInfo(ZONE))
    found = [moment.astimezone(ZoneInfo(ZONE)) for moment in fires(cron, first, 5)]
    assert [f"{moment:%Y-%m-%d %H:%M}" for moment in found] == [
        f"{first.date() + timedelta(days=day)} {clock}" for day in range(5)
    ]
    # The clock changes between 01:30 and 03:30 of the Sunday, the third of these days.
    hours = offsets if flow == "composites.nightly_compositing" else [*offsets[:2], offsets[3], *offsets[3:]]
    assert [moment.utcoffset() for moment in found] == [timedelta(hours=hour) for hour in hours]


@pytest.fixture(scope="module")
def registered(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    """Everything registered twice."""
    api = PREFECT_API_URL.value()
    assert api is not None
    workspace = Workspace.open(tmp_path_factory.mktemp("served"))
    register(Server(api, None), workspace, "full")
    register(Server(api, None), workspace, "full")
    with get_client(sync_client=True) as client:
        yield client


def deployments(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return {f"{flows[each.flow_id]}/{each.name}": each for each in client.read_deployments()}


@pytest.mark.slow
def test_registered_twice_it_is_there_once(registered: SyncPrefectClient) -> None:
    found = deployments(registered)
    assert len(found) == len(written().deployments) == 12
    assert {name: len(each.schedules) for name, each in found.items() if each.schedules} == {
        "nightly-compositing/nightly": 1,
        "nightly-candidates/nightly": 1,
        "retrain/retrain": 1,
        "daily-report/daily": 1,
        "retention/weekly": 1,
        "reaper/reaper": 1,
    }
    assert Counter(each.name for each in registered.read_automations()) == {
        BRING_BACK: 1,
        "retrain on request": 1,
    }
    for pool in POOLS:
        assert Counter(queue.name for queue in registered.read_work_queues(work_pool_name=pool)) == {
            "default": 1,
            **dict.fromkeys(QUEUES, 1),
        }
    assert registered.read_work_pool("gpu").concurrency_limit == 1


@pytest.mark.slow
def test_what_is_registered_is_what_is_written(registered: SyncPrefectClient) -> None:
    retrain = deployments(registered)["retrain/retrain"]
    assert retrain.tags == ["cleanplate", "retrain"]
    assert (retrain.work_pool_name, retrain.work_queue_name) == ("gpu", "nightly")
    assert retrain.global_concurrency_limit is not None
    assert retrain.global_concurrency_limit.limit == 1
    assert retrain.concurrency_options is not None
    assert retrain.concurrency_options.collision_strategy == "ENQUEUE"
    workspace = retrain.parameters["config"]["workspace"]
    assert Path(workspace).is_dir(), "the workspace was put in, absolute"
    assert retrain.parameter_openapi_schema is not None
    form = retrain.parameter_openapi_schema["definitions"]["RetrainConfig"]["properties"]
    assert form["version"]["description"].startswith("The dataset version")
    assert all(field.get("description") for field in form.values())


@pytest.mark.slow
def test_the_server_plans_the_nights_over_the_clock_change(registered: SyncPrefectClient) -> None:
    nightly = deployments(registered)["nightly-compositing/nightly"]
    window = {"start_time": "2027-03-27T00:00:00Z", "end_time": "2027-03-30T00:00:00Z", "max_runs": 3}
    api = PREFECT_API_URL.value()
    httpx.post(f"{api}/deployments/{nightly.id}/schedule", json=window, timeout=120).raise_for_status()
    planned = [
        run.expected_start_time
        for run in registered.read_flow_runs()
        if run.deployment_id == nightly.id
        and run.expected_start_time
        and run.expected_start_time.year == 2027
    ]
    assert sorted(planned) == [
        datetime(2027, 3, 27, 0, 30, tzinfo=UTC),
        datetime(2027, 3, 28, 0, 30, tzinfo=UTC),
        datetime(2027, 3, 28, 23, 30, tzinfo=UTC),
    ]


@pytest.mark.slow
def test_a_workspace_in_a_bucket_is_named_by_its_address(
    registered: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is one machine's cache, and on another one an empty workspace."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / STORE_FILE).write_text("s3://plates/main\n")
    api = PREFECT_API_URL.value()
    assert api is not None
    register(Server(api, None), Workspace(tmp_path), "tiny")
    config = deployments(registered)["nightly-candidates/nightly"].parameters["config"]
    assert config["workspace"] == "s3://plates/main"
    settings = NightlyCandidatesConfig.model_validate(config)
    assert stored_at(working_folder(settings.workspace)) == "s3://plates/main"
