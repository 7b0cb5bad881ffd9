"""A bucket on a real server: round trips, one winner of a name, and plain words for what goes wrong."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks._bad_network import BadNetwork, bad_network
from benchmarks._s3_server import S3Server
from data_specs.errors import StoreError, StoreSilentError
from tasks.storage.object_store import s3 as buckets
from tasks.storage.object_store.s3 import Bucket

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def network(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadNetwork]:
    with bad_network(server.port) as network:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
        yield network


def noise(size_bytes: int) -> bytes:
    return np.random.default_rng(size_bytes).bytes(size_bytes)


def test_files_of_many_parts_come_back_whole(address: str, tmp_path: Path) -> None:
    bucket = Bucket(address)
    for size_bytes in (0, 1, 20_000_001):
        sent, got = tmp_path / f"sent-{size_bytes}", tmp_path / f"got-{size_bytes}"
        sent.write_bytes(noise(size_bytes))
        bucket.put(f"shards/{size_bytes}.tar", sent)
        assert bucket.size_of(f"shards/{size_bytes}.tar") == size_bytes
        assert (
            bucket.download(f"shards/{size_bytes}.tar", got) == hashlib.sha256(sent.read_bytes()).hexdigest()
        )
        assert got.read_bytes() == sent.read_bytes() == bucket.read(f"shards/{size_bytes}.tar")
    assert bucket.names("shards") == ["shards/0.tar", "shards/1.tar", "shards/20000001.tar"]
    assert bucket.names("shar") == bucket.names("versions") == []


def test_what_is_not_there_is_none(address: str, tmp_path: Path) -> None:
    bucket = Bucket(address)
    assert (bucket.read("a"), bucket.size_of("a"), bucket.download("a", tmp_path / "a")) == (None, None, None)
    assert not (tmp_path / "a").exists()


def test_of_racing_creators_one_wins_each_name(address: str) -> None:
    def create(writer: int) -> list[bool]:
        bucket = Bucket(address)
        return [bucket.create(f"versions/{number}", f"writer {writer}".encode()) for number in range(10)]

    with ThreadPoolExecutor(6) as threads:
        won = np.array(list(threads.map(create, range(6))))
    assert won.sum(axis=0).tolist() == [1] * 10
    kept = [Bucket(address).read(f"versions/{number}") for number in range(10)]
    assert kept == [f"writer {writer}".encode() for writer in won.argmax(axis=0)]


def test_creating_the_same_again_is_no_loss(address: str) -> None:
    assert [Bucket(address).create("mark", data) for data in (b"mine", b"mine", b"theirs")] == [
        True,
        True,
        False,
    ]


def test_wrong_credentials_are_said_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    began = time.monotonic()
    with pytest.raises(
        StoreError, match=r"refuses these credentials \(.* 403 Forbidden\); check AWS_ACCESS_KEY_ID"
    ):
        Bucket(address).create("mark", b"")
    assert time.monotonic() - began < 30  # The patience is 120 s.


def test_a_store_that_is_gone_is_waited_for_and_named(address: str, network: BadNetwork) -> None:
    network.close()
    with pytest.raises(
        StoreSilentError, match=rf"{address}: the store has not answered for 1 s .*; nothing is lost"
    ):
        Bucket(address, patience_s=1).create("mark", b"")


def test_a_store_that_comes_back_is_not_missed(
    address: str, network: BadNetwork, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is away for longer than obstore itself tries; whoever waits is told, once."""
    monkeypatch.setattr(buckets, "_TELL_AFTER_S", 0.5)
    network.down = True
    threading.Timer(4, lambda: setattr(network, "down", False)).start()
    began = time.monotonic()
    assert Bucket(address).create("mark", b"")
    assert time.monotonic() - began > 3
    (told,) = [record.getMessage() for record in caplog.records if record.name == buckets.__name__]
    assert re.match(
        rf"{address}: the store does not answer; it is asked again for 11\d s \([^()]*sending request\)$",
        told,
    )


def test_cuts_and_delays_lose_nothing(address: str, network: BadNetwork, tmp_path: Path) -> None:
    network.cut_chance, network.delay_s = 0.02, 0.001
    bucket, direct = Bucket(address), []
    for number in range(12):
        file = tmp_path / f"{number}"
        file.write_bytes(noise(200_000 + number))
        bucket.put(f"shards/{number}", file)
        assert bucket.create(f"versions/{number}", f"{number}".encode())
        direct.append(hashlib.sha256(file.read_bytes()).hexdigest())
    got = [bucket.download(f"shards/{number}", tmp_path / f"got-{number}") for number in range(12)]
    assert got == direct
    assert network.cuts > 5


def test_a_lost_answer_is_no_lost_name(address: str, network: BadNetwork) -> None:
    """The server may have carried out what the client never heard of."""
    wins = []
    for number in range(30):
        network.cut_chance = 0.3
        wins.append(Bucket(address).create(f"versions/{number}", f"of {number}".encode()))
    network.cut_chance = 0.0
    assert wins == [True] * 30
    assert [Bucket(address).read(f"versions/{number}") for number in range(30)] == [
        f"of {number}".encode() for number in range(30)
    ]


def test_a_forked_process_is_told_and_does_not_wait_for_ever(address: str) -> None:
    bucket = Bucket(address)
    assert bucket.create("mark", b"parent")
    child = os.fork()
    if child == 0:
        try:
            Bucket(address).read("mark")
            os._exit(1)
        except StoreError as error:
            os._exit(42 if "forked" in str(error) else 2)
        finally:
            os._exit(3)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    if ended == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 42
