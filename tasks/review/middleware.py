"""The guard before every request: known hosts, same origin, small bodies; and headers on every response."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.review.proxy import PublicUrl

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
    """Wraps the application; whatever it refuses never reaches it."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], public_url: PublicUrl | None = None) -> None:
        """Takes what is its own.

        Args:
            app: What is guarded.
            hosts: The names, without port, under which the server may be asked for.
            public_url: The page's address behind a proxy; its origin alone may change anything.
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
        # A proxy may leave the prefix in the path or take it out; with a root_path both are found.
        rooted = {**scope, "root_path": self._prefix}
        await self._app(rooted, _replayed(body or b"", receive), send_guarded)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        # A page elsewhere may give its own name the address 127.0.0.1; the Host header then tells.
        if host_name(headers.get("host", "")) not in self._hosts:
            return (
                400,
                "not known by that name; start the server with --host NAME, or --public-url behind a proxy",
            )
        origin = headers.get("origin")
        if scope["method"] in ("GET", "HEAD") or origin is None:
            return None
        if origin != (self._origin or f"{scope['scheme']}://{headers['host']}"):
            return 403, (
                "the request comes from another site; use the review page itself, "
                "and behind a proxy start the server with --public-url"
            )
        return None


def host_name(host: str) -> str:
    """The name of a Host header, without its port: ``localhost``, ``127.0.0.1``, ``[::1]``."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


async def _body(receive: Receive, headers: Headers) -> bytes | None:
    """The request's body; None when it is too large, of which no more is read.

    Raises:
        ClientDisconnect: When the client has gone before its end; half an answer is none.
    """
    # The HTTP server has seen to it that the length, where it is stated, is a number and true.
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
    """Gives the body once, then whatever else the client sends: its leaving."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
