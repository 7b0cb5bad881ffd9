"""What people are asked and how it ends: decisions in the ledger, waking on a real Prefect server."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateDetails
from prefect.client.schemas.responses import SetStateStatus
from prefect.input.run_input import keyset_from_paused_state
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Running, Suspended

from data_specs.errors import FlowError, UnknownKeyError
from data_specs.review_batch import Answer, QueuePolicy
from data_specs.shard import ShardRef
from flows.rorem.config import Reviewers, RoundConfig
from flows.rorem.human_review import Decide, PeopleDecision, ReviewRequest, form_text, review
from flows.rorem.phases import Phase
from flows.rorem.round import rorem_round
from flows.runtime.prefect_server import free_port
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.review.batches import make_batch
from tasks.review.oracle import OracleConfig
from tasks.review.resumer import wake_if_complete
from tasks.review.suspended_runs import (
    COMPLETE_EVENT,
    WaitingRun,
    pause_key,
    remember_waiting,
    resume,
    wake_runs,
)
from tasks.rorem.propose import ProposeWork, propose
from tasks.rorem.sample_pool import choose_items, unused_items
from tasks.storage.workspace import Workspace

RUN = "3f2a9c1b" + "0" * 12
PHASE = Phase(RUN, "human 1", "human", 1)
BATCH = "human-1-3f2a9c1b"
pytestmark = pytest.mark.usefixtures("prefect_server")


def answer(workspace: Workspace, batch: str, count: int = 20) -> int:
    """So many items are answered, every other YES; gives how many there were."""
    ledger, now = workspace.ledger(), datetime.now(UTC)
    if not ledger.people.all():
        ledger.people.add("ada", "hash", now)
    leases = ledger.leases.lease(batch, "ada", count, now)
    for number, lease in enumerate(leases):
        said = Answer(decision="no" if number % 2 else "yes", seconds=1, page_version="test")
        ledger.leases.answer(lease.lease, "ada", said, now)
    return len(leases)


@pytest.fixture
def asked(studio: SimpleNamespace) -> SimpleNamespace:
    """Three items drawn and proposed, and how to propose more; ``review(decide)`` asks about them."""
    workspace = studio.workspace

    def more(items: Sequence[str], after: int = 0) -> list[ShardRef]:
        work = ProposeWork(
            round=1, index=after, phase="human 1", purpose="human", pool=(studio.pool,), items=tuple(items),
            variants=("tight",), remover=studio.remover,
        )  # fmt: skip
        return [propose(workspace, work)] if items else []

    items = choose_items(workspace, f"{RUN} human 1", "human", 3, 0)
    first = ReviewRequest(items, more(items))
    reviewers = Reviewers(QueuePolicy(overlap_fraction=0), OracleConfig(), seed=0)

    def ask(decide: Decide) -> ReviewRequest:
        return review(workspace, PHASE, reviewers, first, more, decide=decide)

    return SimpleNamespace(workspace=workspace, first=first, review=ask)


def says(*decisions: PeopleDecision) -> Callable[..., PeopleDecision]:
    """An engineer who decides so, one suspension after the other, and is killed when asked once more."""
    left: Iterator[tuple[int, PeopleDecision]] = iter(enumerate(decisions))

    def decide(workspace: Workspace, batch: str, extensions: int) -> PeopleDecision:
        number, decision = next(left, (extensions, None))
        if decision is None:
            raise KeyboardInterrupt
        assert (batch, extensions) == (BATCH, number)
        return decision

    return decide


def test_with_every_answer_nobody_decides(asked: SimpleNamespace) -> None:
    ledger = asked.workspace.ledger()
    with pytest.raises(KeyboardInterrupt):
        asked.review(says())
    assert ledger.batches.counts(BATCH).items == 3
    assert answer(asked.workspace, BATCH) == 3
    for _ in range(2):
        assert asked.review(says()) == asked.first
    assert [each.kind for each in ledger.batches.events(BATCH)] == ["opened", "continued"]


def test_continue_takes_the_answers_there_are(asked: SimpleNamespace) -> None:
    ledger = asked.workspace.ledger()
    with pytest.raises(KeyboardInterrupt):
        asked.review(says())
    answer(asked.workspace, BATCH, 1)
    assert not asked.review(says(PeopleDecision(decision="continue"))).abandoned
    assert ledger.batches.counts(BATCH).left == 2
    assert answer(asked.workspace, BATCH) == 0, "nobody is asked any more"


def test_extended_it_asks_about_unused_items_each_time_once(asked: SimpleNamespace) -> None:
    workspace, ledger = asked.workspace, asked.workspace.ledger()
    unused = unused_items(workspace)
    two, rest = (PeopleDecision(decision="extend", items=number) for number in (2, 100_000))
    with pytest.raises(KeyboardInterrupt):
        asked.review(says(two))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            asked.review(
                lambda *where: says()(*where) if where[2] == 1 else pytest.fail("get their items again")
            )
    assert ledger.batches.counts(BATCH).items == 5
    assert len(unused_items(workspace)) == len(unused) - 2
    answers = {1: rest, 2: rest, 3: PeopleDecision(decision="abandon")}
    outcome = asked.review(lambda _workspace, _batch, extensions: answers[extensions])
    assert outcome.abandoned
    assert sorted(outcome.items) == sorted([*asked.first.items, *unused])
    assert unused_items(workspace) == []
    assert (
        ledger.batches.counts(BATCH).items == len(outcome.items) == sum(ref.samples for ref in outcome.refs)
    )
    assert asked.review(says()) == outcome, "known from the ledger"
    assert [each.kind for each in ledger.batches.events(BATCH)] == [
        "opened",
        "extended",
        "extended",
        "abandoned",
    ]


def test_the_form_counts(asked: SimpleNamespace) -> None:
    with pytest.raises(KeyboardInterrupt):
        asked.review(says())
    answer(asked.workspace, BATCH, 2)
    text = form_text(BATCH, asked.workspace.ledger().batches.counts(BATCH), 17)
    assert "**2 of 3** candidates have all their answers; 1 of 3 answers are missing" in text
    assert "| 1 | 1 | 0 | 17 |" in text
    with pytest.raises(ValueError, match="decision"):
        PeopleDecision.model_validate({})


def test_a_decision_by_hand_is_in_the_ledger_first(asked: SimpleNamespace) -> None:
    with pytest.raises(KeyboardInterrupt):
        asked.review(says())
    with pytest.raises(FlowError, match=f"3 of 3 answers of {BATCH} are missing"):
        resume(asked.workspace, BATCH, None)
    with pytest.raises(UnknownKeyError):
        resume(asked.workspace, "another", None)
    assert resume(asked.workspace, BATCH, "abandon") == [], "no run waits"
    assert asked.review(says()).abandoned
    resume(asked.workspace, BATCH, "continue")
    assert asked.review(says()).abandoned, "the first decision stands"


@pytest.fixture
def client() -> SyncPrefectClient:
    return get_client(sync_client=True)


def suspended_run(client: SyncPrefectClient, workspace: Workspace, extensions: int = 0) -> UUID:
    """A run as Prefect holds it once its flow has suspended it."""
    deployment = client.create_deployment(flow_id=client.create_flow(rorem_round), name="people")
    run = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(run.id, Running(), force=True)
    state = Suspended(timeout_seconds=None, pause_key=pause_key(BATCH, extensions))
    keys = keyset_from_paused_state(state)
    details = StateDetails.model_validate({**state.state_details.model_dump(), "run_input_keyset": keys})
    state = state.model_copy(update={"state_details": details})
    assert client.set_flow_run_state(run.id, state).status == SetStateStatus.ACCEPT
    PeopleDecision.save(keys, flow_run_id=run.id)
    api = PREFECT_API_URL.value()
    assert api is not None
    remember_waiting(workspace, BATCH, WaitingRun(flow_run=run.id, api=api))
    return run.id


def told(batch: str) -> list[dict]:
    """Events of a batch's completion that Prefect has."""
    criteria = {"event": {"name": [COMPLETE_EVENT]}, "resource": {"id": [f"cleanplate.review-batch.{batch}"]}}
    answer = httpx.post(f"{PREFECT_API_URL.value()}/events/filter", json={"filter": criteria}, timeout=60)
    return answer.json()["events"]


def test_a_wrong_form_is_refused_and_a_second_resume_does_nothing(
    client: SyncPrefectClient, asked: SimpleNamespace
) -> None:
    run = suspended_run(client, asked.workspace)
    for form in ({}, {"decision": "perhaps"}, {"decision": "extend", "items": 0}):
        (woken,) = wake_runs(asked.workspace, BATCH, form)
        assert (woken.flow_run, woken.state) == (run, "refused"), "Prefect answers 200 here"
        assert woken.detail
    states = [wake_runs(asked.workspace, BATCH, {"decision": "continue"})[0].state for _ in range(2)]
    assert states == ["resumed", "busy"]
    client.set_flow_run_state(run, Completed(), force=True)
    assert wake_runs(asked.workspace, BATCH, {"decision": "continue"})[0].state == "over"


def test_a_run_that_waits_for_another_batch_is_left_alone(
    client: SyncPrefectClient, asked: SimpleNamespace
) -> None:
    run = suspended_run(client, asked.workspace)
    api = PREFECT_API_URL.value()
    assert api is not None
    other = "calibration-1-3f2a9c1b"
    remember_waiting(asked.workspace, other, WaitingRun(flow_run=run, api=api))
    assert [each.state for each in wake_runs(asked.workspace, other, {"decision": "continue"})] == ["busy"]


def test_a_complete_batch_is_told_once_and_its_run_resumed(
    client: SyncPrefectClient, asked: SimpleNamespace
) -> None:
    workspace = asked.workspace
    batch = make_batch(workspace, BATCH, asked.first.refs, QueuePolicy(overlap_fraction=0))
    run = suspended_run(client, workspace)
    assert wake_if_complete(workspace, batch.name), "nothing to do yet"
    assert client.read_flow_run(run).state_name == "Suspended"
    answer(workspace, BATCH)
    before = len(told(BATCH))
    assert wake_if_complete(workspace, BATCH)
    assert client.read_flow_run(run).state_name == "Resuming"
    assert not wake_if_complete(workspace, BATCH), "it has not gone on yet"
    # Prefect's server writes events a moment after it has taken them.
    deadline = time.monotonic() + 30
    while len(told(BATCH)) == before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(told(BATCH)) == before + 1


def test_prefect_away_is_said_not_raised(asked: SimpleNamespace) -> None:
    nowhere = WaitingRun(flow_run=UUID(int=7), api=f"http://127.0.0.1:{free_port()}/api")
    remember_waiting(asked.workspace, BATCH, nowhere)
    (woken,) = wake_runs(asked.workspace, BATCH, {"decision": "continue"})
    assert (woken.state, woken.flow_run) == ("unreachable", UUID(int=7))


def test_whether_people_answer_is_part_of_a_runs_name() -> None:
    assert RoundConfig(human_review=QueuePolicy()).identity != RoundConfig().identity
    assert PHASE.batch == BATCH


def test_without_a_deployment_the_round_says_what_it_waits_for(studio: SimpleNamespace) -> None:
    config = RoundConfig(
        workspace=studio.workspace.root, human_review=QueuePolicy(overlap_fraction=0),
        acceptance="none_after_humans",
        human_items=2, variants=("tight",), sampling=SamplingConfig(steps=1),
        retraining=TrainingConfig(steps=1, batch_size=4),
    )  # fmt: skip
    batch = replace(PHASE, run=config.identity.key).batch
    with pytest.raises(FlowError, match=f"{batch} waits for 2 of 2 answers"):
        rorem_round(config)
    answer(studio.workspace, batch, 1)
    with pytest.raises(FlowError, match="waits for 1 of 2 answers"):
        rorem_round(config)
    assert studio.workspace.ledger().versions.current() == studio.version
