"""The password of a workspace's Prefect server: drawn once, read by its owner only, shown to no stranger."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_API_PORT,
    temporary_settings,
)

from data_specs.errors import InputError
from flows.runtime.prefect_server import NoServer, Server, find_server
from tasks.storage.prefect_password import make_password, password_file, password_for, proof, read_password


def test_it_is_drawn_once_and_kept(tmp_path: Path) -> None:
    password = make_password(tmp_path / "prefect")
    assert make_password(tmp_path / "prefect") == read_password(tmp_path / "prefect") == password
    assert password.startswith("cleanplate:")
    assert len(password) > 50
    assert make_password(tmp_path / "another") != password
    assert read_password(tmp_path / "nothing") is None
    assert [path.name for path in (tmp_path / "prefect").iterdir()] == ["password"]


def test_only_its_owner_reads_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_password(tmp_path)
    finally:
        os.umask(before)
    assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_those_who_draw_at_the_same_time_get_the_same(tmp_path: Path) -> None:
    homes = [tmp_path / str(number) for number in range(100)]
    with ThreadPoolExecutor(4) as pool:
        drawn = [list(pool.map(make_password, [home] * 4)) for home in homes]
    assert [len(set(each)) for each in drawn] == [1] * len(homes)
    assert len({each[0] for each in drawn}) == len(homes)


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o604])
def test_one_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    make_password(tmp_path)
    password_file(tmp_path).chmod(mode)
    with pytest.raises(InputError, match="delete it"):
        make_password(tmp_path)


def test_an_empty_one_is_refused(tmp_path: Path) -> None:
    make_password(tmp_path)
    password_file(tmp_path).write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_password(tmp_path)


class Stranger(ThreadingHTTPServer):
    """Somebody who listens where our server should, says yes to everything, and notes what is told."""

    answers: bytes = b"true"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Noting)
        self.heard: list[str] = []
        self.api = f"http://127.0.0.1:{self.server_port}/api"


class Noting(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        stranger = self.server
        assert isinstance(stranger, Stranger)
        stranger.heard.append(f"{self.path}\n{self.headers}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(stranger.answers)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger() as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        yield stranger
        stranger.shutdown()


@pytest.mark.parametrize("answers", [b"true", b"", b"\xff\xfe", b"0" * 64], ids=repr)
def test_a_stranger_at_our_place_is_told_no_password_and_not_used(
    stranger: Stranger, answers: bytes, tmp_path: Path
) -> None:
    stranger.answers = answers
    password = make_password(tmp_path)
    assert password_for(stranger.api, tmp_path) is None
    stranger.answers = b"true"
    with temporary_settings(
        {PREFECT_SERVER_API_PORT: stranger.server_port}, restore_defaults=[PREFECT_API_URL]
    ):
        found = find_server(tmp_path)
    assert isinstance(found, NoServer)
    assert not found.silent
    assert "is not the one of" in found.reason
    assert len(stranger.heard) >= 3
    assert password.partition(":")[2] not in "".join(stranger.heard)
    assert "authorization" not in "".join(stranger.heard).lower()


def test_what_our_server_proves_elsewhere_proves_nothing_here(stranger: Stranger, tmp_path: Path) -> None:
    """A stranger passes our question on to a server of ours at another port."""
    password = make_password(tmp_path)

    def passed_on(handler: Noting) -> None:
        nonce = parse_qs(urlsplit(handler.path).query)["nonce"][0]
        stranger.answers = proof(password, port, nonce).encode()
        original(handler)

    original, port = Noting.do_GET, stranger.server_port + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Noting, "do_GET", passed_on)
        assert password_for(stranger.api, tmp_path) is None
        port = stranger.server_port  # What a server of ours at this port would say.
        assert password_for(stranger.api, tmp_path) == password


def test_who_states_server_and_password_is_believed(stranger: Stranger, tmp_path: Path) -> None:
    stated: dict[Any, Any] = {PREFECT_API_URL: stranger.api, PREFECT_API_AUTH_STRING: "ada:lovelace"}
    with temporary_settings(stated):
        found = find_server(tmp_path)
        assert isinstance(found, Server)
        assert (found.api, found.password) == (stranger.api, "ada:lovelace")
        assert password_for(stranger.api, tmp_path) == "ada:lovelace"
    assert "YWRhOmxvdmVsYWNl" in stranger.heard[-1]
