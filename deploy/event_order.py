"""Order events for a Prefect server's automations, so that they still work after the server was killed.

Prefect lets an event wait up to 15 minutes for the event before it. It remembers in memory which events it
has seen. A restarted server remembers none. The first state change of each run then waited for one from
before the restart. All later changes waited for that one. No automation reacted to a crash.
`PREFECT_SERVER_EVENTS_CAUSAL_ORDERING` names this module.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.server.events.ordering import memory
from prefect.server.events.schemas.events import ReceivedEvent

from data_specs.tested_versions import require_tested

require_tested("prefect", "the order of events")

PATIENCE = timedelta(seconds=5)
"""Events of one server overtake each other by milliseconds. An event that waits longer waits for a lost
one."""


class CausalOrdering(memory.CausalOrdering):
    """Prefect's own order, with a wait of seconds instead of 15 minutes."""

    def __init__(self, scope: str) -> None:
        """Prefect makes one object for each scope, and calls this again whenever it asks for the object."""
        super().__init__(scope)
        self._waiting: dict[UUID, ReceivedEvent] = getattr(self, "_waiting", {})

    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """Let the event pass if the event before it was seen, or will not be seen any more.

        Raises:
            EventArrivedEarly: If it has to wait. ``get_lost_followers`` returns it later.
        """
        if datetime.now(UTC) - event.received < PATIENCE:
            await super().wait_for_leader(event)

    async def record_follower(self, event: ReceivedEvent) -> None:
        """Remember that the event waits for another one."""
        await super().record_follower(event)
        self._waiting[event.id] = event

    async def forget_follower(self, follower: ReceivedEvent) -> None:
        """Forget that the event waits."""
        self._waiting.pop(follower.id, None)
        await super().forget_follower(follower)

    async def get_lost_followers(self) -> list[ReceivedEvent]:
        """Return events that have waited long enough, in the order they occurred. They stop waiting.

        Prefect calls this every 5 s.
        """
        latest = datetime.now(UTC) - PATIENCE
        lost = [event for event in self._waiting.values() if event.received <= latest]
        for event in lost:
            await self.forget_follower(event)
        return sorted(lost, key=lambda event: event.occurred)
