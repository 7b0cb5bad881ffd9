"""Where the server may listen: loopback, or elsewhere under TLS, or when somebody insists."""

import socket
import subprocess
from pathlib import Path

import pytest
from uvicorn.middleware.proxy_headers import _TrustedHosts

from data_specs.errors import InputError
from tasks.review.middleware import PublicUrl, host_name, proxy_addresses
from tasks.review.serve import Address, serve


def never(url: str) -> None:
    raise AssertionError(f"listens on {url}")


async def nothing(scope, receive, send) -> None:
    raise AssertionError("nobody asks")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "review.example"])
def test_a_network_without_tls_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="could read tokens"):
        serve(nothing, Address(host=host), never)
    Address(host=host, allow_plain_http=True).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_nothing(host: str) -> None:
    Address(host=host).check()


def test_tls_needs_both_files(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    with pytest.raises(InputError, match="needs its key"):
        Address(tls_cert=cert).check()
    with pytest.raises(InputError, match="does not exist"):
        Address(tls_cert=cert, tls_key=key).check()
    cert.touch()
    key.touch()
    with pytest.raises(InputError, match="not a certificate and its key in PEM"):
        Address(tls_cert=cert, tls_key=key).check()
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
    subprocess.run(["openssl", "req", *words], check=True, capture_output=True)
    address = Address(host="0.0.0.0", tls_cert=cert, tls_key=key)
    address.check()
    assert address.secure


def test_behind_a_proxy() -> None:
    public = PublicUrl.parse("https://Review.Example:8443/tools/review/")
    assert (public.origin, public.prefix) == ("https://review.example:8443", "/tools/review")
    assert str(public) == "https://review.example:8443/tools/review/"
    assert PublicUrl.parse("https://review.example:443") == PublicUrl.parse("https://review.example/")
    address = Address(public_url=public, trusted_proxies=proxy_addresses("127.0.0.1"))
    address.check()
    assert address.secure
    assert address.names == {"127.0.0.1", "localhost", "[::1]", "review.example"}
    with pytest.raises(InputError, match="could read tokens"):
        Address(host="0.0.0.0", public_url=public).check()
    with pytest.raises(InputError, match="needs --public-url"):
        Address(trusted_proxies=proxy_addresses("10.0.0.0/28")).check()


@pytest.mark.parametrize(
    "url",
    [
        "http://review.example",
        "review.example",
        "https://",
        "https://review.example:99999",
        "https://[::1",
        "https://ana@review.example",
        "https://review.example/?a=b",
        "https://review.example/a b",
        "https://review.example/a;Domain=x",
        "https://review.example/../a",
        "https://review.example//a",
        "https://prüfen.example",
    ],
)
def test_no_public_url(url: str) -> None:
    with pytest.raises(InputError, match="--public-url"):
        PublicUrl.parse(url)


@pytest.mark.parametrize("proxy", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.256", ""])
def test_no_proxys_address(proxy: str) -> None:
    with pytest.raises(InputError, match="an address or a network"):
        proxy_addresses(proxy)


def test_a_proxys_address_is_known_in_both_ways() -> None:
    """On ``::`` an IPv4 peer has another name, of which uvicorn knows nothing."""
    for told, peer in (("10.0.0.7", "10.0.0.7"), ("10.0.0.0/28", "::ffff:10.0.0.9"), ("fd00::1", "fd00::1")):
        assert peer in _TrustedHosts(list(proxy_addresses(told)))
        assert "10.0.1.1" not in _TrustedHosts(list(proxy_addresses(told)))


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="choose another port"):
            serve(nothing, Address(port=taken.getsockname()[1]), never)


def test_names_it_answers_to() -> None:
    assert Address().names == {"127.0.0.1", "localhost", "[::1]"}
    assert Address(host="Review.Example").names >= {"review.example", "localhost"}
    assert socket.gethostname().lower() in Address(host="0.0.0.0").names
    assert [host_name(each) for each in ("LocalHost:80", "[::1]:8080", "[::1]", "a.b")] == [
        "localhost",
        "[::1]",
        "[::1]",
        "a.b",
    ]
