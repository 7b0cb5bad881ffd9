"""Serving the review page: on loopback, or elsewhere under TLS, or in plain HTTP if somebody insists."""

import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from data_specs.errors import InputError

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 = any free one."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_plain_http: bool = False
    """Whether tokens and cookies may cross a network unencrypted."""

    @property
    def secure(self) -> bool:
        """Whether it is behind TLS."""
        return self.tls_cert is not None

    @property
    def names(self) -> frozenset[str]:
        """What a browser may call it in its Host header; the machine's own names where it serves others."""
        own = _own_names() if self.host in ("0.0.0.0", "::") else [self.host]
        bracketed = [f"[{name}]" if ":" in name else name for name in own]
        return frozenset(name.lower() for name in [*LOOPBACK_NAMES, *bracketed])

    def check(self) -> None:
        """Raises InputError for half a TLS pair, files that are none, or a network without TLS."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert", "a certificate and its key go together; give --tls-key too")
        for name, file in (("--tls-cert", self.tls_cert), ("--tls-key", self.tls_key)):
            if file is not None and not file.is_file():
                raise InputError(name, f"there is no file {file}")
        if self.tls_cert is not None and self.tls_key is not None:
            _check_pair(self.tls_cert, self.tls_key)
        if not (_is_loopback(self.host) or self.secure or self.allow_plain_http):
            raise InputError(
                f"--host {self.host}",
                "anybody on that network could read tokens and answers; give --tls-cert and --tls-key, "
                "or --allow-plain-http behind a proxy that has TLS",
            )


def serve(app: ASGIApp, address: Address, ready: Callable[[str], None]) -> None:
    """Listens until it is told to stop (SIGINT, SIGTERM).

    Args:
        app: The application.
        address: Where.
        ready: Called with the URL once the port is taken.

    Raises:
        InputError: When the address is refused or cannot be had.
    """
    address.check()
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"{address.host}:{address.port}", f"cannot listen here ({error.strerror}); choose another port"
        ) from error
    host = f"[{address.host}]" if ":" in address.host else address.host
    scheme = "https" if address.secure else "http"
    ready(f"{scheme}://{host}:{listener.getsockname()[1]}/")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=address.tls_cert,
        ssl_keyfile=address.tls_key,
        timeout_graceful_shutdown=5,
    )
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # SSLError is one.
        raise InputError(f"{certificate}, {key}", "they are no certificate and its key in PEM") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_names() -> list[str]:
    """The machine's names and addresses, for a server that listens on all of them."""
    name = socket.gethostname()
    return [name, socket.getfqdn(), *{str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}]
