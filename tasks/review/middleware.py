"""Guard every request of the review server: known hosts, same origin, small bodies, safe response headers."""

import asyncio
import ipaddress
import re
import resource
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from data_specs.errors import InputError

# Connections that clients hold open: a request must be complete in time, and their number is limited.
#
# uvicorn waits forever for the rest of a request. A thousand incomplete requests would use up the process's
# file handles, and nobody else would be served.

REQUEST_SECONDS = 20.0
"""Time limit from a request's first byte, or the connection's start, to its last byte."""
_MAX_CONNECTIONS = 2000
_MAX_WAITING = 128


def max_connections() -> int:
    """The number of open connections: half of the files that the process may open. The ledger needs some."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if allowed == resource.RLIM_INFINITY else min(_MAX_CONNECTIONS, allowed // 2)


def max_waiting() -> int:
    """The number of connections that the system may queue before they are accepted."""
    return min(_MAX_WAITING, max_connections() // 4)


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1. Above the limit, it drops the connection whose request is the slowest."""

    _due: asyncio.TimerHandle | None = None
    """When the request must be complete. None if no request is expected."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected. Its first request is expected."""
        super().connection_made(transport)
        self._start_clock()
        if len(self.connections) > max_connections():
            self._drop_slowest()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left or was dropped."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More bytes do not stop the clock. A complete request does."""
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
        """Drop the slowest connection, or this one if no other waits. Never one that is being answered."""
        waiting = {
            connection: connection._due.when()
            for connection in self.connections
            if isinstance(connection, TimedProtocol) and connection._due is not None
        }
        min(waiting, key=waiting.__getitem__)._drop()


# A proxy with TLS in front of the review server: the URL that people open, and the trusted proxies.

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
# It becomes the cookie's path, so no character is allowed that has a meaning in a header.
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The page's address in people's browsers."""

    host: str
    """In lower case and without a port, as `host_name` returns it."""
    origin: str
    """As browsers write it: ``https://review.example``, with a port if it is not 443."""
    prefix: str
    """The path of the page: ``/review``, or nothing."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``https://NAME[:PORT][/PREFIX]``. Raises InputError for anything else."""
        place = f"--public-url {text}"
        try:
            parts = urlsplit(text)
            port, host = parts.port, parts.hostname or ""
        except ValueError as error:
            raise InputError(place, f"is not an address ({error}); write https://NAME") from error
        host = f"[{host}]" if ":" in host else host
        prefix = parts.path.rstrip("/")
        plain = parts.username is None and not (parts.query or parts.fragment)
        if not (plain and parts.scheme == "https" and _HOST.fullmatch(host) and _PREFIX.fullmatch(prefix)):
            raise InputError(
                place,
                "is not an https:// address; write https://NAME, https://NAME:PORT or https://NAME/PREFIX",
            )
        origin = f"https://{host}" + ("" if port in (None, 443) else f":{port}")
        return cls(host, origin, prefix)

    def __str__(self) -> str:
        return f"{self.origin}{self.prefix}/"


def proxy_addresses(text: str) -> tuple[str, ...]:
    """The address or network of a proxy, as uvicorn compares it with a peer's address.

    A server that listens on ``::`` sees 10.0.0.1 as ::ffff:10.0.0.1, so IPv4 is returned in both forms.

    Raises:
        InputError: If it is neither an address nor a network.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InputError(
            f"--trusted-proxy {text}",
            f"is not an address ({error}); write an address or a network, such as 10.0.0.7 or 10.0.0.0/28",
        ) from error
    if isinstance(network, ipaddress.IPv6Network):
        return (str(network),)
    return str(network), f"::ffff:{network.network_address}/{96 + network.prefixlen}"


MAX_BODY_BYTES = 16_384

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Wraps the application. A refused request never reaches it."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], public_url: PublicUrl | None = None) -> None:
        """Wrap an application.

        Args:
            app: The application.
            hosts: Host names, without port, that requests may use.
            public_url: The page's address behind a proxy. Only its origin may change anything.
        """
        self._app = app
        self._hosts = hosts
        self._origin = public_url.origin if public_url else None
        self._prefix = public_url.prefix if public_url else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    given[name] = value
                given.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refused(scope, headers)
        try:
            body = b"" if refusal else await _body(receive, headers)
        except ClientDisconnect:
            return
        if body is None:
            refusal = (413, f"the request is larger than {MAX_BODY_BYTES} bytes; send one answer at a time")
        if refusal is not None:
            status, sentence = refusal
            await JSONResponse({"error": sentence}, status)(scope, receive, send_guarded)
            return
        # A proxy may keep the prefix in the path or remove it. With a root_path both are found.
        rooted = {**scope, "root_path": self._prefix}
        await self._app(rooted, _replayed(body or b"", receive), send_guarded)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        # Another site may point its own name to 127.0.0.1. The Host header reveals that.
        if host_name(headers.get("host", "")) not in self._hosts:
            return (
                400,
                "this server does not have that name; start it with --host NAME, or with --public-url "
                "behind a proxy",
            )
        origin = headers.get("origin")
        if scope["method"] in ("GET", "HEAD") or origin is None:
            return None
        if origin != (self._origin or f"{scope['scheme']}://{headers['host']}"):
            return 403, (
                "the request comes from another site; use the review page itself, or start the server "
                "with --public-url behind a proxy"
            )
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without its port: ``localhost``, ``127.0.0.1``, ``[::1]``."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


async def _body(receive: Receive, headers: Headers) -> bytes | None:
    """The request's body. None if it is too large; the rest of it is not read.

    Raises:
        ClientDisconnect: If the client leaves before the end. Half an answer is no answer.
    """
    # The HTTP server has checked that the stated length, if any, is a number and true.
    if int(headers.get("content-length", "0")) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return the body once, then whatever else the client sends, which is its disconnect."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
