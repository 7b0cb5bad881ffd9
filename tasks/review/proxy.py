"""A proxy with TLS before the review server: the URL that people open, and the proxies that are believed."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from data_specs.errors import InputError

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
# It becomes the cookie's path, so nothing is allowed in it that a header could take for its own.
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The page's address as people's browsers know it."""

    host: str
    """In small letters and without a port, as `guard.host_name` gives it."""
    origin: str
    """As browsers write it: ``https://review.example``; with a port where it is not 443."""
    prefix: str
    """The path that the page lies under: ``/review``, or nothing."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``https://NAME[:PORT][/PREFIX]``; raises InputError for anything else."""
        place = f"--public-url {text}"
        try:
            parts = urlsplit(text)
            port, host = parts.port, parts.hostname or ""
        except ValueError as error:
            raise InputError(place, f"is no address ({error})") from error
        host = f"[{host}]" if ":" in host else host
        prefix = parts.path.rstrip("/")
        plain = parts.username is None and not (parts.query or parts.fragment)
        if not (plain and parts.scheme == "https" and _HOST.fullmatch(host) and _PREFIX.fullmatch(prefix)):
            raise InputError(place, "write it as https://NAME, https://NAME:PORT or https://NAME/PREFIX")
        origin = f"https://{host}" + ("" if port in (None, 443) else f":{port}")
        return cls(host, origin, prefix)

    def __str__(self) -> str:
        return f"{self.origin}{self.prefix}/"


def proxy_addresses(text: str) -> tuple[str, ...]:
    """A proxy's address or network, as uvicorn compares it with a peer's.

    A server that listens on ``::`` sees 10.0.0.1 as ::ffff:10.0.0.1, so IPv4 is given in both ways.

    Raises:
        InputError: When it is neither.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InputError(
            f"--trusted-proxy {text}", f"give an address or a network, as 10.0.0.7 or 10.0.0.0/28 ({error})"
        ) from error
    if isinstance(network, ipaddress.IPv6Network):
        return (str(network),)
    return str(network), f"::ffff:{network.network_address}/{96 + network.prefixlen}"
