"""What people are asked and how it ends: the decisions in the ledger, the waking on a real Prefect server."""

from collections.abc import Sequence
from types import SimpleNamespace
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.input.run_input import keyset_from_paused_state
from prefect.settings import PREFECT_API_URL
from prefect.states import Running, Suspended

from data_specs.review_batch import QueuePolicy
from data_specs.shard import ShardRef
from flows.people import Asked, PeopleDecision, ReviewPhase, form_text, review
from flows.rorem_round import RoundConfig, rorem_round
from models.remover import SamplingConfig
from tasks.choose import choose_items, unused_items
from tasks.propose import ProposeWork, propose
from tasks.review.ending import batch_ending
from tasks.review.resume import resume
from tasks.review.waiting import (
    COMPLETE_EVENT,
    WaitingRun,
    pause_key,
    remember_waiting,
    wake_runs,
)
from tasks.review.waker import wake_if_complete
from tasks.workspace import Workspace

PHASE = ReviewPhase("human", 1)
RUN = "3f2a9c1b" + "0" * 12
BATCH = "human-1-3f2a9c1b"


def answer_some(workspace: Workspace, decisions: Sequence[str]) -> None:
    """As the queue gives them."""
    ...


@pytest.fixture
def client(prefect_server: None) -> SyncPrefectClient:
    return get_client(sync_client=True)


@pytest.fixture
def asked(studio: SimpleNamespace) -> SimpleNamespace:
    """A workspace with three items drawn and proposed, and how to propose more."""
    workspace = studio.workspace

    def more(*, items: Sequence[str], after: int = 0) -> list[ShardRef]:
        work = ProposeWork(
            round=1, index=after, phase="human 1", pool=(studio.pool,), items=tuple(items),
            variants=("tight",), remover=studio.remover,
        )  # fmt: skip
        return [propose(workspace, work)] if items else []

    items = choose_items.fn(workspace, f"{RUN} human 1", 3, 0)
    config = RoundConfig(
        workspace=workspace.root, people=QueuePolicy(overlap_share=0), sampling=SamplingConfig(steps=1)
    )
    return SimpleNamespace(
        workspace=workspace, propose=more, first=Asked(items, more(items=items)), config=config
    )


def suspended_run(client: SyncPrefectClient, workspace: Workspace, extensions: int = 0) -> UUID:
    """A run as Prefect holds it once the flow has suspended it."""
    flow = client.create_flow(rorem_round)
    deployment = client.create_deployment(flow_id=flow, name=f"people {extensions}")
    run = client.create_flow_run_from_deployment(deployment, parameters={})
    client.set_flow_run_state(run.id, Running(), force=True)
    state = Suspended(timeout_seconds=None, pause_key=pause_key(BATCH, extensions))
    keys = keyset_from_paused_state(state)
    state.state_details.run_input_keyset = keys
    assert client.set_flow_run_state(run.id, state).status == SetStateStatus.ACCEPT
    PeopleDecision.save(keys, flow_run_id=run.id)
    api = PREFECT_API_URL.value()
    assert api is not None
    remember_waiting(workspace, BATCH, WaitingRun(flow_run=run.id, api=api))
    return run.id


def test_it_wakes(client: SyncPrefectClient, studio: SimpleNamespace) -> None:
    workspace = studio.workspace
    run = suspended_run(client, workspace)
    print(wake_runs(workspace, BATCH, {"decision": "perhaps"}))
    print(wake_runs(workspace, BATCH, {"decision": "continue"}))
    print(wake_runs(workspace, BATCH, {"decision": "continue"}))
    from tasks.review.waiting import tell_complete

    tell_complete(workspace, BATCH, {"yes": 3})
    assert 0
