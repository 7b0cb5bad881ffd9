"""A Prefect server that asks for a password and answers no other site.

Run: `python -m flows.runtime.server_process`.

Prefect's own `prefect server start` answers every web page that is open on this machine.
"""

import argparse
import sys
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn
from prefect import settings
from prefect.settings import Settings, get_current_settings, temporary_settings
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_specs.errors import CleanplateError
from flows.runtime.timely_end import end_with_starter
from tasks.storage.prefect_password import PROOF_PATH, make_password, password_file, proof, read_password

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """Wraps Prefect's application: who comes from another site, or asks for another name, gets 403.

    Its pages may ask no other machine. Prefect's new pages would ask amplitude.com, even without analytics.
    """

    def __init__(self, app: ASGIApp, origins: list[str], port: int, own_password: str | None) -> None:
        """Let through what these origins are for.

        Args:
            app: Prefect's.
            origins: The addresses by which the pages are opened, as ``http://127.0.0.1:4200``.
            port: Where the server listens.
            own_password: The workspace's, which can be proved; a person's own may be too weak for that.
        """
        self._app, self._origins = app, frozenset(origins)
        self._names = {*_LOOPBACK, *(_name(urlsplit(origin).netloc) for origin in origins)}
        self._port, self._own_password = port, own_password
        sockets = [origin.replace("http", "ws", 1) for origin in origins]
        self._policy = " ".join(["connect-src 'self'", *origins, *sockets])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(Headers(scope=scope))) is not None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal})
            else:
                await JSONResponse({"detail": refusal}, 403)(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == PROOF_PATH:
            await self._prove(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:

            async def send_with_policy(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)["content-security-policy"] = self._policy
                await send(message)

            await self._app(scope, receive, send_with_policy)

    def _refusal(self, headers: Headers) -> str | None:
        # A page elsewhere may give its own name this machine's address; the Host header then tells.
        host = headers.get("host", "")
        if _name(host) not in self._names:
            return "this server does not have that name; add it to PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
        own = {*self._origins, f"http://{host}", f"https://{host}"}
        if any(origin not in own for origin in headers.getlist("origin")):
            return "the request comes from another site"
        return None

    async def _prove(self, scope: Scope, receive: Receive, send: Send) -> None:
        nonce = parse_qs(scope["query_string"].decode("ascii", "replace")).get("nonce", [""])[0]
        if self._own_password is None:
            answer = PlainTextResponse("this server has no workspace's password", 404)
        else:
            answer = PlainTextResponse(proof(self._own_password, self._port, nonce))
        await answer(scope, receive, send)


def _name(host: str) -> str:
    """The name of a Host header, without its port: ``localhost``, ``127.0.0.1``, ``[::1]``."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def main() -> None:
    """Serve until told to stop, or until standard input ends."""
    own = get_current_settings().server.api
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=own.host, help="the address to listen on")
    parser.add_argument("--port", type=int, default=own.port)
    parser.add_argument("--with-starter", action="store_true", help="end when standard input ends")
    arguments = parser.parse_args()
    if arguments.with_starter:
        threading.Thread(target=end_with_starter, daemon=True).start()
    try:
        serve(arguments.host, arguments.port)
    except CleanplateError as error:
        sys.exit(f"cleanplate: {error}")


def serve(host: str, port: int) -> None:
    """Serve Prefect's API and pages, behind a password.

    The password is the one that PREFECT_SERVER_API_AUTH_STRING or PREFECT_API_AUTH_STRING states, else the
    random one in Prefect's home.

    Raises:
        InputError: If others can read the password in Prefect's home.
    """
    stated_settings = get_current_settings()
    stated = stated_settings.server.api.auth_string or stated_settings.api.auth_string
    password = stated.get_secret_value() if stated else make_password(stated_settings.home)
    # Somebody may state the very words of the file, as the runbook tells them.
    own_password = password if password == read_password(stated_settings.home) else None
    origins = _origins(stated_settings, port)
    changes: dict[Any, Any] = {
        settings.PREFECT_SERVER_API_HOST: host,
        settings.PREFECT_SERVER_API_PORT: port,
        settings.PREFECT_SERVER_API_AUTH_STRING: password,
        settings.PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(origins),
    }
    unless_stated: dict[Any, Any] = {
        settings.PREFECT_UI_API_URL: f"{origins[0]}/api",
        settings.PREFECT_SERVER_ANALYTICS_ENABLED: False,
        settings.PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT: False,
    }
    with temporary_settings(changes, set_defaults=unless_stated):
        # Not before: it reads the settings while it is imported.
        from prefect.server.api.server import create_app

        guard = Guard(create_app(final=True), origins, port, own_password)
        where = password_file(stated_settings.home) if own_password else "PREFECT_API_AUTH_STRING"
        print(f"Prefect's pages: {origins[0]}; sign in with the password in {where}", flush=True)
        api = stated_settings.server.api
        uvicorn.run(
            guard,
            host=host,
            port=port,
            timeout_keep_alive=api.keepalive_timeout,
            ws_ping_interval=api.websocket_ping_interval,
            ws_ping_timeout=api.websocket_ping_timeout,
            log_level=stated_settings.server.logging_level.lower(),
        )


def _origins(settings: Settings, port: int) -> list[str]:
    """The addresses by which the pages are opened: those stated, else this machine's own."""
    stated = settings.server.api.cors_allowed_origins
    if stated.strip() == "*":
        return [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
    return [origin.strip().rstrip("/") for origin in stated.split(",")]


if __name__ == "__main__":
    main()
