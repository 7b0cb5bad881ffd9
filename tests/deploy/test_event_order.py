"""Events' order after a server was killed: who follows what is lost waits seconds, crashes are answered."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.server.events.ordering import CausalOrdering as AnyOrder
from prefect.server.events.ordering import EventArrivedEarly, memory
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import temporary_settings
from prefect.states import Crashed, Pending, Running

from deploy.event_order import PATIENCE, CausalOrdering
from deploy.register import make_automations
from tests.deploy.own_server import OwnServer, until


def event(age: timedelta, follows: UUID | None = None) -> ReceivedEvent:
    """A change of a run's state that reached the server so long ago."""
    then = datetime.now(UTC) - age
    told = {"id": uuid4(), "occurred": then, "received": then, "event": "changed", "follows": follows}
    return ReceivedEvent.model_validate({**told, "resource": {"prefect.resource.id": "prefect.flow-run.one"}})


async def comes_through(order: AnyOrder, given: ReceivedEvent, seen: list[UUID]) -> bool:
    """Whether the event is let through; what waited for it is noted after it."""

    async def handler(event: ReceivedEvent, depth: int = 0) -> None:
        await comes_through(order, event, seen)

    try:
        async with order.preceding_event_confirmed(handler, given):
            seen.append(given.id)
    except EventArrivedEarly:
        return False
    return True


def test_an_event_waits_for_the_one_it_follows_and_comes_after_it() -> None:
    order, seen = CausalOrdering(scope="waits"), list[UUID]()
    first = event(timedelta(0))
    second = event(timedelta(0), follows=first.id)
    assert not asyncio.run(comes_through(order, second, seen))
    assert asyncio.run(comes_through(order, first, seen))
    assert seen == [first.id, second.id]


def test_who_follows_a_lost_event_waits_seconds_where_prefects_own_waits_minutes() -> None:
    late = event(PATIENCE + timedelta(seconds=1), follows=uuid4())
    assert asyncio.run(comes_through(CausalOrdering(scope="ours"), late, []))
    assert not asyncio.run(comes_through(memory.CausalOrdering(scope="theirs"), late, []))


def test_who_waited_long_enough_is_given_back_once_in_the_order_of_occurring() -> None:
    order = CausalOrdering(scope="given back")
    young, old, older = (event(timedelta(seconds=age), follows=uuid4()) for age in (1, 20, 30))

    async def given_back() -> tuple[list[ReceivedEvent], list[ReceivedEvent]]:
        for waiting in (young, old, older):
            await order.record_follower(waiting)
        return await order.get_lost_followers(), await order.get_lost_followers()

    assert asyncio.run(given_back()) == ([older, old], [])


@flow(name="crashes-after-a-restart")
def a_flow() -> None:
    """Never run; its run is put into states by hand."""


@pytest.mark.slow
def test_a_crash_after_the_server_was_killed_is_started_again(tmp_path: Path) -> None:
    """The run's start was seen by a server that is no more; its crash comes within Prefect's five minutes."""
    server = OwnServer(tmp_path)
    called = server.server.settings()
    with server, temporary_settings(called), get_client(sync_client=True) as client:
        make_automations(client)
        deployment = client.create_deployment(client.create_flow(a_flow), name="one", tags=["cleanplate"])
        run = client.create_flow_run_from_deployment(deployment, tags=["cleanplate"])
        for state in (Pending(), Running()):
            client.set_flow_run_state(run.id, state, force=True)
    with server, temporary_settings(called), get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed(), force=True)

        def state_of_run() -> State | None:
            return client.read_flow_run(run.id).state

        until(lambda: (state := state_of_run()) is not None and state.name == "AwaitingRetry")
