"""What is said in the terminal stands in Prefect's log of the run as well, once in each."""

import uuid

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run

from flows.runtime.shards import say


@pytest.mark.usefixtures("prefect_server")
def test_what_is_said_in_a_run_stands_in_its_log() -> None:
    sentence = f"human 1: 435 kept of 600 ({uuid.uuid4().hex[:8]})"

    @flow
    def speaking() -> str:
        say(sentence)
        return str(flow_run.id)

    run = speaking()
    APILogWorker.drain_all(timeout=30)
    with get_client(sync_client=True) as client:
        kept = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[uuid.UUID(run)])))
    assert [line.message for line in kept].count(sentence) == 1


def test_outside_of_a_run_it_is_only_printed(capsys: pytest.CaptureFixture[str]) -> None:
    say("preparing")
    assert capsys.readouterr().err == "preparing\n"
