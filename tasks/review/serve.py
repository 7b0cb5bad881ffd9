"""Run the review server: on loopback, elsewhere over TLS, or over plain HTTP if explicitly allowed."""

import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from data_specs.errors import InputError
from tasks.review.middleware import PublicUrl, TimedProtocol, max_waiting

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 means any free port."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_plain_http: bool = False
    """Whether tokens and cookies may cross a network unencrypted."""
    public_url: PublicUrl | None = None
    """The URL that people open, if a proxy with TLS is in front of the server."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies, as `proxy_addresses` returns them, whose X-Forwarded-For is trusted."""

    @property
    def secure(self) -> bool:
        """Whether browsers reach the server over TLS."""
        return self.tls_cert is not None or self.public_url is not None

    @property
    def names(self) -> frozenset[str]:
        """Allowed names in a Host header. On a network they include the machine's own names."""
        own = _own_names() if self.host in ("0.0.0.0", "::") else [self.host]
        bracketed = [f"[{name}]" if ":" in name else name for name in own]
        public = [] if self.public_url is None else [self.public_url.host]
        return frozenset(name.lower() for name in [*LOOPBACK_NAMES, *bracketed, *public])

    def check(self) -> None:
        """Check the address.

        Raises:
            InputError: If one of certificate and key is missing, a file does not exist, a network has no
                TLS, or a proxy has no public URL.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert", "a certificate needs its key; give --tls-cert and --tls-key")
        for name, file in (("--tls-cert", self.tls_cert), ("--tls-key", self.tls_key)):
            if file is not None and not file.is_file():
                raise InputError(name, f"the file {file} does not exist; name an existing one")
        if self.tls_cert is not None and self.tls_key is not None:
            _check_pair(self.tls_cert, self.tls_key)
        if not (_is_loopback(self.host) or self.tls_cert or self.allow_plain_http):
            raise InputError(
                f"--host {self.host}",
                "anyone on that network could read tokens and answers; give --tls-cert and --tls-key, or "
                "use 127.0.0.1 behind a proxy with TLS and give --public-url "
                "(docs/operations/review-proxy.md), or give --allow-plain-http if only such a proxy "
                "reaches the port",
            )
        if self.trusted_proxies and self.public_url is None:
            raise InputError(
                "--trusted-proxy", "a trusted proxy needs --public-url, the https:// address that people open"
            )


def serve(app: ASGIApp, address: Address, ready: Callable[[str], None]) -> None:
    """Listen until SIGINT or SIGTERM.

    Args:
        app: The application.
        address: Where to listen.
        ready: Called with the URL once the port is open; behind a proxy with both URLs.

    Raises:
        InputError: If the address is refused or not available.
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
    scheme = "https" if address.tls_cert else "http"
    own = f"{scheme}://{host}:{listener.getsockname()[1]}/"
    ready(f"{address.public_url}, by a proxy that asks {own}" if address.public_url else own)
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="none",
        backlog=max_waiting(),
        # Not "warning": every broken request would give a line, and anybody can send a million.
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=bool(address.trusted_proxies),
        forwarded_allow_ips=list(address.trusted_proxies),
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
        raise InputError(
            f"{certificate}, {key}", "are not a certificate and its key in PEM; give a matching pair"
        ) from error


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
