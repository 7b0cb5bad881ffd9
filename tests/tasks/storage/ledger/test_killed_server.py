"""The real review server, killed with SIGKILL while people answer: what it acknowledged is there once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from data_specs.review_batch import QueuePolicy, ReviewBatch, ReviewItem

ROOT = Path(__file__).parents[4]
KILLS = 3


class Server:
    """`cleanplate review serve` on a free port, started again on the same one after a kill."""

    def __init__(self, workspace: Path) -> None:
        self.port = 0
        self._workspace = workspace
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "flows.cli.main", "review", "serve", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--workspace", str(self._workspace)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("review page: http://127.0.0.1:"), line
        self.url = line.split()[-1].rstrip("/")
        self.port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()


def until_answered(client: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response:
    """Asks again while the server is down, as the page does."""
    while True:
        try:
            return client.request(method, path, **more)
        except httpx.TransportError:
            time.sleep(0.1)


def work(url: str, token: str, told: list[tuple[str, str]]) -> None:
    """Answers until nothing is left; every acknowledged event is noted with its candidate."""
    with httpx.Client(base_url=url, headers={"X-Cleanplate-CSRF": ""}, timeout=30) as client:
        until_answered(client, "POST", "/api/session", json={"token": token}).raise_for_status()
        state = until_answered(client, "GET", "/api/state").json()
        client.headers["X-Cleanplate-CSRF"] = state["csrf"]
        while items := until_answered(client, "POST", "/api/lease", json={"count": 5}).json()["items"]:
            for item in items:
                body = {"lease": item["lease"], "decision": random.choice(["yes", "no"]), "seconds": 1}
                answer = until_answered(client, "POST", "/api/answer", json=body)
                answer.raise_for_status()
                told.append((answer.json()["event"], item["candidate"]))


def test_every_acknowledged_answer_is_there_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, ledger_url: str
) -> None:
    monkeypatch.setenv("CLEANPLATE_LEDGER", ledger_url)
    asked: SimpleNamespace = request.getfixturevalue("asked")
    many = [ReviewItem(candidate=key, answers_wanted=2) for key in asked.candidates]
    batches = [f"b{number}" for number in range(2, 7)]
    for name in batches:
        known = asked.ledger.batches.named("b1")
        asked.ledger.batches.open(
            ReviewBatch(name=name, round=1, policy=QueuePolicy(), opened_at=known.opened_at), many
        )
    told: dict[str, list[tuple[str, str]]] = {"ana": [], "ben": []}
    server = Server(asked.workspace.root)
    people = [
        threading.Thread(target=work, args=(server.url, getattr(asked, name), told[name]), daemon=True)
        for name in told
    ]
    for each in people:
        each.start()
    try:
        for _ in range(KILLS):
            before = sum(map(len, told.values()))
            while sum(map(len, told.values())) < before + 25:
                assert all(each.is_alive() for each in people), "somebody gave up"
                time.sleep(0.02)
            server.kill()
            server.start()
        for each in people:
            each.join(timeout=120)
    finally:
        server.kill()
    events = Counter(event for given in told.values() for event, _ in given)
    assert set(events.values()) == {1}
    reviews = asked.ledger.reviews.all()
    assert {review.event for review in reviews} == set(events), "all that is acknowledged, and nothing else"
    assert len(reviews) == 12 + 5 * 24
    counts = Counter((review.batch, review.candidate) for review in reviews)
    assert counts == {
        **{("b1", key): 1 for key in asked.candidates},
        **{(name, key): 2 for name in batches for key in asked.candidates},
    }
    assert all(asked.ledger.batches.counts(name).left == 0 for name in ["b1", *batches])
