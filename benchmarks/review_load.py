"""Kill the review server while fifty simulated people answer. Is every acknowledged answer stored once?

Goal: none lost, none doubled, no item with more answers than wanted, and p99 of an answer < 100 ms. ``ratio``
is that p99 divided by 100 ms. People think between answers (``--think``), as real people do. 0 measures the
maximum load of the server.

Run: python -m benchmarks.review_load [--answers 1500] [--kills 2] [--database postgresql] [--json]

The default is half a minute of answers with two kills. `--answers 10000 --kills 10` takes minutes.

With ``--exclude`` nobody kills the server. Most of the batch is answered before, and one person is disabled
and enabled while the others answer the rest. ``ratio`` is then the greater of its seconds divided by 1 s, and
p99 meanwhile divided by 100 ms. The full size is `--exclude 0.02 --answers 125000`: one of fifty people.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._exclusion import exclude_while_answering
from benchmarks._machine import machine
from benchmarks._postgresql import postgresql, postgresql_programs
from benchmarks._processes import ends_in_time
from benchmarks._review_server import ReviewServer
from benchmarks._reviewers import SimulatedPerson, Told
from data_specs.candidate import Candidate
from data_specs.review_batch import QueuePolicy
from tasks.review.auth import invite
from tasks.review.batches import make_batch
from tasks.storage.shards import encode_candidate, write_shard
from tasks.storage.workspace import LEDGER_VARIABLE, Workspace

_BATCH = "load"
_SHARED, _PEOPLE_A_SHARED_ITEM = 0.25, 2
_OF_A_SHARD = 1_000


@dataclass(frozen=True)
class Outcome:
    """Results of the benchmark."""

    ratio: float
    """p99 of an answer divided by 100 ms."""
    database: str
    people: int
    think_s: float
    items: int
    wanted: int
    acknowledged: int
    kills: int
    lost: int
    """Acknowledged answers that the ledger does not hold as given."""
    doubled: int
    """Answers of one person to one item beyond the first."""
    beyond_wanted: int
    """Items with more answers than wanted."""
    left: int
    refused: int
    """Answers whose lease had expired. The item was given to somebody else."""
    asked_again: int
    answer_p50_ms: float
    answer_p99_ms: float
    answer_max_ms: float
    answers_per_s: float
    seconds: float
    machine: str

    @property
    def holds(self) -> bool:
        """Whether nothing is lost, doubled, left or beyond what was wanted."""
        return not (self.lost or self.doubled or self.beyond_wanted or self.left)


@ends_in_time
def main() -> None:
    """Measure and print. The exit code is 1 if an answer is lost, doubled, left or too many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--answers", type=int, default=1_500)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--think", type=float, default=1.0, help="mean seconds between a person's answers")
    parser.add_argument(
        "--exclude",
        type=float,
        default=0.0,
        help="fraction of the earlier answers that the disabled person gave",
    )
    parser.add_argument(
        "--answered", type=float, default=0.9, help="with --exclude: fraction answered before"
    )
    parser.add_argument("--times", type=int, default=3, help="with --exclude: how often, for more answers")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other moments")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleanplate-load-") as folder, _ledger(arguments.database):
        workspace = Workspace.open(Path(folder) / "workspace")
        _open_batch(workspace, arguments.answers)
        if arguments.exclude:
            title = "people answering, one of them disabled"
            run = exclude_while_answering(workspace, _BATCH, Path(folder), arguments)
        else:
            title = "people answering, the server killed"
            run = load_and_kill(workspace, Path(folder), arguments)
        outcome = asyncio.run(run)
    figures = {"title": title, **asdict(outcome)}
    print(json.dumps(figures, indent=2)) if arguments.as_json else _print(figures)
    sys.exit(not outcome.holds)


async def load_and_kill(workspace: Workspace, folder: Path, arguments: argparse.Namespace) -> Outcome:
    """Run everybody at once and kill the server at random moments of the work. Then count in the ledger."""
    tokens = {f"p{number:03d}": "" for number in range(arguments.people)}
    tokens = {name: invite(workspace.ledger(), name) for name in tokens}
    server, told = ReviewServer(workspace.root, _BATCH, folder / "server.log"), Told()
    people = [
        SimulatedPerson(server.address, name, token, number, arguments.think, told)
        for number, (name, token) in enumerate(tokens.items())
    ]
    began = time.monotonic()
    try:
        killing = asyncio.create_task(_kill(server, told, arguments))
        await asyncio.gather(*(person.work() for person in people))
        kills = await killing
    finally:
        server.kill()
    return _count(workspace, told, arguments, kills, time.monotonic() - began)


async def _kill(server: ReviewServer, told: Told, arguments: argparse.Namespace) -> int:
    """Send SIGKILL and restart, each after a random fraction of the answers and a random delay."""
    chance = random.Random(arguments.seed)
    moments = sorted(chance.uniform(0.02, 0.95) * arguments.answers for _ in range(arguments.kills))
    for moment in moments:
        while len(told.answers) < moment:
            await asyncio.sleep(0.02)
        await asyncio.sleep(chance.uniform(0, 0.5))
        server.kill()
        await asyncio.to_thread(server.start)
    return len(moments)


def _open_batch(workspace: Workspace, answers: int) -> None:
    """A batch in which a quarter of the items want two people's answers, ``answers`` in all."""
    count = round(answers / (1 + _SHARED * (_PEOPLE_A_SHARED_ITEM - 1)))
    noise = np.random.default_rng(0)
    refs = [
        write_shard(
            workspace,
            stage="candidates",
            round=1,
            index=index,
            input_digest=f"load {count} {first}",
            samples=(
                encode_candidate(_candidate(noise, number), "png")
                for number in range(first, min(first + _OF_A_SHARD, count))
            ),
        )
        for index, first in enumerate(range(0, count, _OF_A_SHARD))
    ]
    policy = QueuePolicy(overlap_people=_PEOPLE_A_SHARED_ITEM, overlap_fraction=_SHARED, lease_seconds=60)
    make_batch(workspace, _BATCH, refs, policy)


def _candidate(noise: np.random.Generator, number: int) -> Candidate:
    image = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[8:20, 10:22] = True
    return Candidate(
        key=f"load-{number:06d}",
        item=f"item-{number}",
        scene=f"scene-{number}",
        split="train",
        class_name="thing",
        variant="tight",
        model_hash="none",
        source_hash=f"{number}",
        source=image,
        mask=mask,
        removal=image,
    )


def _count(
    workspace: Workspace, told: Told, arguments: argparse.Namespace, kills: int, seconds: float
) -> Outcome:
    ledger = workspace.ledger()
    reviews, counts = ledger.reviews.all(), ledger.batches.counts(_BATCH)
    kept = {each.event: (each.candidate, each.reviewer, each.decision) for each in reviews}
    wanted = {item.candidate: item.answers_wanted for item in ledger.batches.items(_BATCH)}
    given = Counter(each.candidate for each in reviews)
    by_person = Counter((each.candidate, each.reviewer) for each in reviews)
    p99 = statistics.quantiles(told.milliseconds, n=100)[98]
    return Outcome(
        ratio=p99 / 100,
        database=arguments.database,
        people=arguments.people,
        think_s=arguments.think,
        items=counts.items,
        wanted=counts.wanted,
        acknowledged=len(told.answers),
        kills=kills,
        lost=sum(kept.get(event) != answer for event, answer in told.answers.items()),
        doubled=sum(number - 1 for number in by_person.values()),
        beyond_wanted=sum(number > wanted[key] for key, number in given.items()),
        left=counts.left,
        refused=len(told.refused),
        asked_again=told.asked_again,
        answer_p50_ms=statistics.median(told.milliseconds),
        answer_p99_ms=p99,
        answer_max_ms=max(told.milliseconds),
        answers_per_s=len(told.answers) / seconds,
        seconds=seconds,
        machine=machine(),
    )


@contextmanager
def _ledger(database: str) -> Iterator[None]:
    """Put the workspace's ledger into the chosen database."""
    if database == "sqlite":
        yield
        return
    programs = postgresql_programs()
    if programs is None:
        raise SystemExit("PostgreSQL's initdb is not found; apt-get install postgresql")
    with postgresql(programs) as address:
        os.environ[LEDGER_VARIABLE] = address.format(database="postgres")
        yield
        del os.environ[LEDGER_VARIABLE]


def _print(figures: dict[str, object]) -> None:
    table = Table(title=str(figures["title"]), show_header=False, box=None, title_justify="left")
    for name, figure in figures.items():
        if name not in ("title", "machine"):
            table.add_row(
                name.replace("_", " "), f"{figure:.2f}" if isinstance(figure, float) else str(figure)
            )
    Console().print(table)
    Console().print(str(figures["machine"]), soft_wrap=True)


if __name__ == "__main__":
    main()
