"""The daily report's figures against rows written by hand: sums, prices, stretches of time, drift, alarms."""

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.runtime import flow_run
from typer.testing import CliRunner

from data_specs.daily_report import Drift, Prices
from data_specs.model_record import ModelRecord
from data_specs.reject import Reject, RejectReason
from data_specs.review import Review
from data_specs.round import EndedPhase, PhaseKind, PhaseResult
from data_specs.seconds import Seconds
from data_specs.shard import Purpose, SampleRow, ShardRef, Stage
from data_specs.version import DatasetVersion
from flows.cli.main import app
from flows.nightly.daily_report import DRIFT_EVENT, DailyReportConfig, look_back_now, publish_daily_report
from flows.report.pages import daily_page
from tasks.monitoring.daily_report import DriftLimits, keep_drift, look_back
from tasks.storage.workspace import Workspace
from tests.facts import Facts

NOW = datetime.now(UTC)


def phase(name: str, kind: PhaseKind, tested: int, kept: int) -> PhaseResult:
    return PhaseResult(
        name=name, kind=kind, round=int(name.split()[1]), tested=tested, kept=kept, total=40,
        success_rate=0.625, success_low=0.5, success_high=0.75, psnr_effect=20, psnr_background=30,
        promoted=True, reason="better", seconds=90,
    )  # fmt: skip


def add_shard(
    space: Workspace, stage: Stage, samples: int, round: int = 2, purpose: Purpose | None = None
) -> list[str]:
    name = f"{round:03d}-{stage}-00000-{purpose}"
    keys = [f"{stage} {purpose} {place}" for place in range(samples)]
    ref = ShardRef(
        name=name, stage=stage, round=round, index=0, purpose=purpose, samples=samples, size_bytes=10,
        sha256=name, index_sha256="b", input_digest=name,
    )  # fmt: skip
    rows = [SampleRow(key, "scene", "train", place) for place, key in enumerate(keys)]
    space.ledger().shards.commit(ref, rows)
    return keys


@pytest.fixture
def night(tmp_path: Path) -> Workspace:
    """Round 2: people kept 50 of 100 items, 3 YES of 4; the discriminator kept 10 of 200, mean score 0.3."""
    space = Workspace.open(tmp_path / "workspace")
    ledger = space.ledger()
    asked = add_shard(space, "candidates", 4, purpose="human")
    judged = add_shard(space, "candidates", 4, purpose="automation")
    calibrating = add_shard(space, "candidates", 6, purpose="calibration")
    add_shard(space, "grown", 60, purpose="human")
    add_shard(space, "composites", 20, round=0)
    add_shard(space, "pool", 500, round=0)
    ledger.reviews.record(
        [
            Review(
                event=f"e{key}",
                candidate=key,
                decision="no" if key == asked[0] or key in calibrating else "yes",
                reviewer="ana",
                kind="person",
                answered_at=datetime.now(UTC),
            )
            for key in [*asked, *calibrating]
        ]
    )
    for age, discriminator, scores in ((2, "old", [1, 1, 1, 1]), (1, "new", [0.1, 0.2, 0.3, 0.6])):
        made = NOW - timedelta(hours=age)
        ledger.models.record(
            ModelRecord(
                hash=discriminator,
                kind="discriminator",
                path=discriminator,
                parent=None,
                dataset_version=None,
                metrics={},
                created_at=made,
            )  # fmt: skip
        )
        ledger.scores.record(discriminator, dict(zip(judged, scores, strict=True)))
    refused = [Reject(source="clip", name=f"{n}", reason=RejectReason.NO_CHANGE) for n in range(7)]
    ledger.rejects.record(refused)
    for number, parents, samples in ((1, (), 100), (2, (1,), 160)):
        ledger.versions.record(
            DatasetVersion(
                number=number,
                parents=parents,
                samples=samples,
                shards=1,
                by_split={},
                by_stage={},
                parquet="a",
                sha256="a",
                note=f"step {number}",
                created_at=datetime.now(UTC),
            )  # fmt: skip
        )
    people, discriminator = phase("human 2", "human", 100, 50), phase("automation 2", "automation", 200, 10)
    for result in (phase("automation 1", "automation", 200, 22), people, discriminator):
        ledger.results.record("phase_start", result.name, Facts({}), run="run")
        ledger.results.record("phase", result.name, EndedPhase(result=result), run="run")
    ledger.costs.record("w1", "compose", Seconds(wall=1000, cpu=3600, gpu=0))
    ledger.costs.record("w2", "compose", Seconds(wall=1000, cpu=3600, gpu=0))
    ledger.costs.record("t", "train remover", Seconds(wall=7200, cpu=1800, gpu=7200))
    return space


def config(space: Workspace) -> DailyReportConfig:
    return DailyReportConfig(workspace=space.root, hours=1, prices=Prices(cpu_hour=0.5, gpu_hour=4))


def test_what_it_cost_and_what_came_of_it(night: Workspace) -> None:
    found = look_back_now(night, config(night))
    work = {each.what: (each.pieces, each.cost) for each in found.work}
    assert work == {"compose": (2, pytest.approx(1.0)), "train remover": (1, pytest.approx(0.25 + 8))}
    assert found.cost == pytest.approx(9.25)
    assert found.accepted == 60 + 20, "pool items and candidates are none"
    assert found.cost_per_accepted == pytest.approx(9.25 / 80)
    assert found.rejects == {RejectReason.NO_CHANGE.value: 7}
    assert found.reviews == {"person no": 7, "person yes": 3}
    assert [(each.number, each.grown_by) for each in found.versions] == [(1, 100), (2, 60)]
    assert [each.name for each in found.phases] == ["automation 1", "human 2", "automation 2"]


def test_another_stretch_of_time_holds_nothing(night: Workspace) -> None:
    early = look_back(night, NOW - timedelta(hours=9), NOW - timedelta(hours=8), Prices(), DriftLimits())
    assert (early.work, early.shards, early.rejects, early.reviews, early.versions) == ([], [], {}, {}, [])
    assert early.cost_per_accepted is None
    assert "Nothing ran." in daily_page(early)


def test_drift_compares_the_newest_discriminator_with_the_people_of_the_same_round(night: Workspace) -> None:
    keep, score, change = look_back_now(night, config(night)).drifts
    assert (keep.what, keep.against, keep.expected, keep.found) == ("keep rate", "human 2", 0.5, 0.05)
    assert keep.error == pytest.approx((0.2 * 0.8 * (1 / 100 + 1 / 200)) ** 0.5)
    assert (score.what, score.expected) == ("score", 0.75), "not the answers that calibrate"
    assert score.found == pytest.approx(0.3)
    assert score.error == pytest.approx((76 / 102 * 26 / 102 / 100 + 0.035 / 200) ** 0.5)
    assert keep.alarm
    assert score.alarm
    assert (change.against, change.expected, change.found) == ("automation 1", 0.11, 0.05)
    assert not change.alarm, "6 points of the 10 allowed"


@pytest.mark.parametrize(
    ("human", "automation", "alarm"),
    [
        ((100, 50), (200, 10), True),
        ((100, 50), (200, 45), False),  # 27.5 points: within the limit of 30
        ((4, 2), (4, 0), False),  # 50 points, of four items
    ],
)
def test_an_alarm_is_more_than_the_limit_and_more_than_chance(human, automation, alarm: bool) -> None:
    people, discriminator = (
        phase("human 1", "human", *human),
        phase("automation 1", "automation", *automation),
    )
    assert keep_drift(discriminator, people, 0.3).alarm is alarm


def test_of_rorems_own_rounds_only_the_last_fall_is_an_alarm() -> None:
    """papers.md, fact 4: tested and kept of three rounds."""
    human = [(10_000, 4_182), (10_000, 7_008), (10_000, 6_133)]
    automation = [(30_000, 20_634), (80_000, 51_099), (95_204, 49_313)]
    people = [phase(f"human {n}", "human", *counts) for n, counts in enumerate(human, 1)]
    judged = [phase(f"automation {n}", "automation", *counts) for n, counts in enumerate(automation, 1)]
    limits = DriftLimits()
    beside = [keep_drift(a, h, limits.keep_rate) for a, h in zip(judged, people, strict=True)]
    assert [round(100 * each.gap, 1) for each in beside] == [27.0, 6.2, 9.5]
    falls = [keep_drift(b, a, limits.keep_rate_change) for a, b in pairwise(judged)]
    assert [round(100 * each.gap, 1) for each in falls] == [4.9, 12.1]
    assert [each.alarm for each in [*beside, *falls]] == [False, False, False, False, True]


def test_the_page_opens_with_the_alarms(night: Workspace) -> None:
    lines = daily_page(look_back_now(night, config(night))).splitlines()
    assert lines[2] == (
        "- **Alarm**: the keep rate of automation 2 is 5.0%, of human 2 50.0%: "
        "45.0 points apart, 30.0 allowed"
    )
    assert "- 80 accepted, for 9.25 EUR, 0.1156 EUR each." in lines
    assert "- Dataset version 2 has 160 samples, +60: step 2." in lines
    assert "| compose | 2 | 0.556 | 2.000 | 0.000 | 1.00 |" in lines


def test_the_command_prints_the_same(night: Workspace) -> None:
    options = ["report", "--workspace", str(night.root), "--cpu-hour", "0.5", "--gpu-hour", "4", "--json"]
    said = json.loads(CliRunner().invoke(app, options).stdout)
    assert said["cost"] == pytest.approx(9.25)
    assert [each["what"] for each in said["alarms"]] == ["keep rate", "score"]


def events_of(space: Workspace) -> list[dict[str, Any]]:
    wanted = {"event": {"name": [DRIFT_EVENT]}}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"]
    return [each for each in found if each["resource"]["prefect.resource.name"] == str(space.root)]


@pytest.mark.usefixtures("prefect_server")
def test_a_run_shows_the_page_and_raises_each_alarm_once(night: Workspace) -> None:
    found = look_back_now(night, config(night))

    @flow
    def nightly() -> str:
        publish_daily_report(night, found)
        publish_daily_report(night, found)
        return str(flow_run.id)

    run = nightly()
    with get_client(sync_client=True) as client:
        own = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run)]))
        shown = {str(each.data) for each in client.read_artifacts(artifact_filter=own)}
    assert shown == {daily_page(found)}
    end = time.monotonic() + 60
    while len(events_of(night)) < 2 and time.monotonic() < end:
        time.sleep(0.2)
    told = events_of(night)
    assert sorted(each["payload"]["what"] for each in told) == ["keep rate", "score"]


def test_a_drift_is_told_as_what_it_is() -> None:
    drift = Drift(
        what="score", phase="automation 2", against="human 2", expected=0.5, found=0.45, error=0.01, limit=0.1
    )
    assert drift.gap == pytest.approx(0.05)
    assert not drift.alarm
