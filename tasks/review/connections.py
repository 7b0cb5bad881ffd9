"""Connections that clients hold open: a request must be whole in time, and only so many are open at once.

uvicorn waits for ever for the rest of a request. A thousand half-sent ones would use up the process's
files, and nobody else would be served.
"""

import asyncio
import resource

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 20.0
"""From a request's first byte, or the connection's start, to its last byte."""
_MOST_CONNECTIONS = 2000
_MOST_WAITING = 128


def most_connections() -> int:
    """How many may be open at once: half of the files that the process may open; the ledger wants some."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if allowed == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, allowed // 2)


def most_waiting() -> int:
    """How many the system may hold back before they are accepted, all of them at once."""
    return min(_MOST_WAITING, most_connections() // 4)


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1; of too many connections the one that has kept us waiting longest is dropped."""

    _due: asyncio.TimerHandle | None = None
    """When the request must be whole; None while none is awaited."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: its first request is awaited."""
        super().connection_made(transport)
        self._start_clock()
        if len(self.connections) > most_connections():
            self._drop_slowest()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was dropped."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Further bytes do not stop the clock; a whole request does."""
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_clock()
        elif self._due is None:
            self._start_clock()

    def _start_clock(self) -> None:
        self._due = self.loop.call_later(REQUEST_SECONDS, self._drop)

    def _stop_clock(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _drop(self) -> None:
        self._stop_clock()
        self.transport.abort()

    def _drop_slowest(self) -> None:
        """Never one whose request is being answered; this connection itself if no other waits."""
        waiting = {
            each: each._due.when()
            for each in self.connections
            if isinstance(each, TimedProtocol) and each._due is not None
        }
        min(waiting, key=waiting.__getitem__)._drop()
