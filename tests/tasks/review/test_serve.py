"""Where the server may listen: loopback, or elsewhere under TLS, or when somebody insists."""

import socket
from pathlib import Path

import pytest

from data_specs.errors import InputError
from tasks.review.guard import host_name
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
    with pytest.raises(InputError, match="go together"):
        Address(tls_cert=cert).check()
    with pytest.raises(InputError, match="no file"):
        Address(tls_cert=cert, tls_key=key).check()
    cert.touch()
    key.touch()
    address = Address(host="0.0.0.0", tls_cert=cert, tls_key=key)
    address.check()
    assert address.secure


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
