"""The order in which a Prefect server's automations see events, for a server that may be killed.

Prefect lets an event wait up to 15 minutes for the one it follows, and remembers in memory which it has seen.
A server that was started again has seen nothing: the first change of each run's state waited for one from
before, all later ones waited for that, and no crash was answered. `PREFECT_SERVER_EVENTS_CAUSAL_ORDERING`
names this module.
"""

from datetime import UTC, datetime, timedelta

from prefect.server.events.ordering import memory
from prefect.server.events.schemas.events import ReceivedEvent

PATIENCE = timedelta(seconds=5)
"""Events of one server overtake each other by milliseconds; who waits longer waits for what is lost."""


class CausalOrdering(memory.CausalOrdering):
    """Prefect's own order, with seconds of patience in the place of 15 minutes."""

    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """Let the event go on where what it follows was seen, or is seen no more.

        Raises:
            EventArrivedEarly: When it has to wait; ``get_lost_followers`` brings it back.
        """
        if datetime.now(UTC) - event.received < PATIENCE:
            await super().wait_for_leader(event)

    async def get_lost_followers(self) -> list[ReceivedEvent]:
        """Events that have waited long enough, in the order they occurred; they wait no more.

        Prefect asks every 5 s.
        """
        latest = datetime.now(UTC) - PATIENCE
        async with self._lock:
            lost = [self._events[key] for key, received in self._waitlist.items() if received <= latest]
        for event in lost:
            await self.forget_follower(event)
        return sorted(lost, key=lambda event: event.occurred)
