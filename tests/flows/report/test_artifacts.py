import base64
import json
import xml.etree.ElementTree as ET
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.runtime import flow_run

from data_specs.round import CycleResult, DiscriminatorCurves, LossCurve
from flows.report.artifacts import artifact_key, publish_cycle, summary
from flows.report.sheets import SampleRow, draw_grid


def artifacts_of(run_id: str) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
        return {str(one.key): one.data for one in client.read_artifacts(artifact_filter=wanted)}


@pytest.mark.usefixtures("prefect_server")
def test_a_run_shows_what_the_report_shows(
    cycle_result: CycleResult,
    curves: list[DiscriminatorCurves],
    losses: list[LossCurve],
    sample_rows: list[SampleRow],
) -> None:
    grid = draw_grid(sample_rows)

    @flow
    def cycle() -> str:
        publish_cycle(cycle_result, curves, losses, {"After human 2": grid})
        return str(flow_run.id)

    shown = artifacts_of(cycle())
    phases = json.loads(shown["phases"])
    assert [row["kept"] for row in phases] == ["–", "640", "288", "402", "371", "366"]
    kind, coded = shown["samples-after-human-2"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(coded) == grid
    charts = [key for key, data in shown.items() if str(data).startswith("data:image/svg+xml")]
    assert len(charts) == 1 + 1 + 2 * 2 + 7
    for key in charts:
        assert ET.fromstring(base64.b64decode(shown[key].split(",")[1])).tag.endswith("svg")


def test_keys_are_what_prefect_takes() -> None:
    assert artifact_key("Loss: human 1 (EMA)") == "loss-human-1-ema"


def test_the_summary_has_a_line_for_each_discriminator(cycle_result: CycleResult) -> None:
    lines = summary(cycle_result).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "- Dataset version 6 holds 2,067 samples in 41 shards."
