"""Disable and enable a person who answered much, while others answer: seconds, and how long they wait."""

import argparse
import asyncio
import json
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks._answered_batch import answer_first
from benchmarks._machine import machine
from benchmarks._review_server import ReviewServer
from benchmarks._reviewers import SimulatedPerson, Told
from tasks.review.auth import invite
from tasks.storage.workspace import Workspace

_EXCLUDED = "excluded"
_CHILD = """
import json, sys, time
from datetime import UTC, datetime
from pathlib import Path
from tasks.storage.workspace import Workspace
people = Workspace.existing(Path(sys.argv[1])).ledger().people
moments = []
for change in [people.disable, people.enable] * int(sys.argv[3]):
    time.sleep(1)
    began = time.monotonic()
    change(sys.argv[2], "a benchmark", datetime.now(UTC))
    moments.append((began, time.monotonic()))
print(json.dumps(moments))
"""
"""`cleanplate review reviewers disable` without its start, which takes no lock."""


@dataclass(frozen=True)
class Exclusion:
    """Results of disabling and enabling a person."""

    ratio: float
    """The greater of two: the seconds divided by 1 s, and p99 of an answer meanwhile divided by 100 ms."""
    database: str
    people: int
    think_s: float
    items: int
    answered_first: int
    excluded_answers: int
    """How many of them the person gave who was disabled."""
    exclusion_s: float
    """Median time of disabling or enabling."""
    exclusion_max_s: float
    answers_meanwhile: int
    """Acknowledged answers that waited at some time while the person was being disabled or enabled."""
    answer_p50_meanwhile_ms: float
    answer_p99_meanwhile_ms: float
    answer_p99_otherwise_ms: float
    wrong_counts: int
    """Counts that differ from a count of all answers."""
    machine: str

    @property
    def holds(self) -> bool:
        """Whether the counts are right in the end."""
        return self.wrong_counts == 0


async def exclude_while_answering(
    workspace: Workspace, batch: str, folder: Path, arguments: argparse.Namespace
) -> Exclusion:
    """Answer most of a batch, let everybody answer the rest, and disable and enable one person meanwhile."""
    ledger = workspace.ledger()
    names = [f"p{number:03d}" for number in range(arguments.people)]
    tokens = {name: invite(ledger, name) for name in [*names, _EXCLUDED]}
    keys = [item.candidate for item in ledger.batches.items(batch)]
    first = keys[: round(arguments.answered * len(keys))]
    mine = round(arguments.exclude * len(first))
    answer_first(ledger, batch, first[:mine], [_EXCLUDED])
    answer_first(ledger, batch, first[mine:], names)
    server, told = ReviewServer(workspace.root, batch, folder / "server.log"), Told()
    people = [
        SimulatedPerson(server.address, name, tokens[name], number, arguments.think, told)
        for number, name in enumerate(names)
    ]
    work = [asyncio.create_task(person.work()) for person in people]
    try:
        while len(told.answers) < 2 * arguments.people:
            await asyncio.sleep(0.1)
        moments = await _disable_and_enable(workspace, arguments.times)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        server.kill()
    return _outcome(workspace, batch, told, moments, mine, arguments)


async def _disable_and_enable(workspace: Workspace, times: int) -> list[tuple[float, float]]:
    """In a process of its own, as an engineer's command. Returns when each change began and ended."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _CHILD,
        str(workspace.root),
        _EXCLUDED,
        str(times),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
    )
    said, _ = await child.communicate()
    return [(began, ended) for began, ended in json.loads(said)]


def _outcome(
    workspace: Workspace,
    batch: str,
    told: Told,
    moments: list[tuple[float, float]],
    mine: int,
    arguments: argparse.Namespace,
) -> Exclusion:
    meanwhile, otherwise = [], []
    for milliseconds, at in zip(told.milliseconds, told.acknowledged_at, strict=True):
        during = any(began < at and at - milliseconds / 1000 < ended for began, ended in moments)
        (meanwhile if during else otherwise).append(milliseconds)
    seconds = [ended - began for began, ended in moments]
    p99 = _p99(meanwhile)
    ledger = workspace.ledger()
    items, counts = ledger.batches.items(batch), ledger.batches.counts(batch)
    valid = ledger.reviews.valid(batch)
    given = {(review.candidate, review.reviewer) for review in valid}
    answers = Counter(candidate for candidate, _ in given)
    left = [max(0, item.answers_wanted - answers[item.candidate]) for item in items]
    wrong = (counts.answers != len(valid)) + (counts.left != sum(left)) + (counts.complete != left.count(0))
    return Exclusion(
        ratio=max(statistics.median(seconds), p99 / 100),
        database=arguments.database,
        people=arguments.people,
        think_s=arguments.think,
        items=len(items),
        answered_first=round(arguments.answered * len(items)),
        excluded_answers=mine,
        exclusion_s=statistics.median(seconds),
        exclusion_max_s=max(seconds),
        answers_meanwhile=len(meanwhile),
        answer_p50_meanwhile_ms=statistics.median(meanwhile or [0.0]),
        answer_p99_meanwhile_ms=p99,
        answer_p99_otherwise_ms=_p99(otherwise),
        wrong_counts=wrong,
        machine=machine(),
    )


def _p99(milliseconds: list[float]) -> float:
    """The 99th percentile, 0 for none."""
    ordered = sorted(milliseconds)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else 0.0
