"""Kill a flow with SIGKILL at random moments, restart it, and compare it with an uninterrupted one.

Goal: finished shards are not redone, all bytes and rows are equal, and verify is clean. ``ratio`` is the wall
time of the killed run, with all its starts, divided by that of the uninterrupted run: the cost of the kills.

Run: python -m benchmarks.kill_resume [--flow cycle|compositing|seeing] [--kills 3] [--seed 0] [--json]

Three kills show that it works at all. `--kills 20` reaches every stage and every kind of training.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from benchmarks._contents import contents_of, differences, left_overs
from benchmarks._killing import Attempt, Progress, SmallFlow, progress_of
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from tasks.storage.dataset import verify_dataset
from tasks.storage.workspace import Workspace

_SHOWN = 10


@dataclass(frozen=True)
class Moment:
    """A point in the flow's work: a number of seconds after some progress."""

    progress: Progress
    seconds_after: float


@dataclass(frozen=True)
class Start:
    """One start of the killed run."""

    seconds: float
    startup_seconds: float
    killed: bool
    rows: int
    """Rows in the ledger when it ended."""
    training_steps: int
    """Steps in the checkpoint that the kill left. 0 outside of trainings."""


@dataclass(frozen=True)
class Outcome:
    """Results of the benchmark."""

    ratio: float
    ratio_without_startup: float
    kills: int
    kills_in_training: int
    equal: bool
    lost: int
    doubled: int
    redone_shards: int
    verify_clean: bool
    left_overs: int
    shards: int
    rows: int
    unbroken_seconds: float
    unbroken_startup_seconds: float
    starts: list[Start]
    faults: list[str]
    machine: str


@ends_in_time
def main() -> None:
    """Measure and print. The exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flow", choices=get_args(SmallFlow), default="cycle")
    parser.add_argument("--kills", type=int, default=1, help="more kills take minutes more")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other moments")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".kill_resume-") as folder:
        outcome = kill_and_resume(Path(folder), arguments.kills, arguments.seed, arguments.flow)
    figures = {"title": f"{arguments.flow}: killed and started again", **asdict(outcome)}
    print(json.dumps(figures, indent=2)) if arguments.as_json else _print(figures)
    sys.exit(not outcome.equal)


def kill_and_resume(folder: Path, kills: int, seed: int, flow: SmallFlow = "cycle") -> Outcome:
    """Run a small flow without kills in one workspace, and with kills in another. List the differences."""
    unbroken, killed = folder / "unbroken", folder / "killed"
    timeline, first = run_unbroken(unbroken, folder / "unbroken.log", flow)
    starts: list[Start] = []
    finished = FinishedShards(killed)
    for moment in random_moments(timeline, first, kills, seed):
        starts += _until_killed(killed, folder / "killed.log", flow, moment)
        finished.look()
    starts.append(_to_the_end(killed, folder / "killed.log", flow))
    finished.look()
    return _compare(Workspace.existing(unbroken), Workspace.existing(killed), first, starts, finished.redone)


def run_unbroken(folder: Path, log: Path, flow: SmallFlow) -> tuple[list[tuple[float, Progress]], Start]:
    """Run the flow to its end.

    Returns:
        When each progress was first seen, in seconds since the start, and the start itself.
    """
    timeline: list[tuple[float, Progress]] = []
    attempt = Attempt(folder, log, flow)

    def note(progress: Progress) -> bool:
        if not timeline or progress > timeline[-1][1]:
            timeline.append((attempt.seconds, progress))
        return False

    try:
        attempt.watch(note)
        return timeline, _start(attempt, folder, killed=False)
    finally:
        attempt.kill()


def random_moments(
    timeline: list[tuple[float, Progress]], first: Start, kills: int, seed: int
) -> list[Moment]:
    """Moments drawn uniformly from the uninterrupted run's time at work, in the order of the work."""
    draw = random.Random(seed)
    times = sorted(draw.uniform(timeline[0][0], first.seconds) for _ in range(kills))
    moments: list[Moment] = []
    for time in times:
        reached, progress = max(point for point in timeline if point[0] <= time)
        moments.append(Moment(progress, time - reached))
    return moments


class FinishedShards:
    """Checks that the files of a shard in the ledger are never written again."""

    def __init__(self, folder: Path) -> None:
        """Watch a workspace. It need not exist yet."""
        self._folder = folder
        self._seen: dict[str, tuple[int, int]] = {}
        self.redone: set[str] = set()

    def look(self) -> None:
        """Compare with the previous call."""
        if not (self._folder / "ledger.sqlite").exists():
            return
        workspace = Workspace(self._folder)
        for ref in workspace.ledger().shards.all():
            for suffix in (".tar", ".parquet"):
                found = (workspace.shards_dir / f"{ref.name}{suffix}").stat()
                mark = (found.st_ino, found.st_mtime_ns)
                if self._seen.setdefault(f"{ref.name}{suffix}", mark) != mark:
                    self.redone.add(ref.name)


def _until_killed(folder: Path, log: Path, flow: SmallFlow, moment: Moment) -> list[Start]:
    """Start the flow and kill it at the moment. If it ended before, try again a little earlier."""
    starts: list[Start] = []
    wait = moment.seconds_after
    while not starts or not starts[-1].killed:
        attempt = Attempt(folder, log, flow)
        try:
            reached = attempt.watch(_after(attempt, moment.progress, wait))
        finally:
            attempt.kill()
        starts.append(_start(attempt, folder, killed=reached))
        wait /= 2
    return starts


def _after(attempt: Attempt, progress: Progress, wait: float) -> Callable[[Progress], bool]:
    """True ``wait`` seconds after the attempt first reached the progress."""
    due: list[float] = []

    def ripe(reached: Progress) -> bool:
        if reached >= progress and not due:
            due.append(attempt.seconds + wait)
        return bool(due) and attempt.seconds >= due[0]

    return ripe


def _to_the_end(folder: Path, log: Path, flow: SmallFlow) -> Start:
    attempt = Attempt(folder, log, flow)
    try:
        attempt.watch(lambda _: False)
        return _start(attempt, folder, killed=False)
    finally:
        attempt.kill()


def _start(attempt: Attempt, folder: Path, *, killed: bool) -> Start:
    seconds, startup = attempt.seconds, attempt.at_work_after
    assert startup is not None, "a run that was watched has been at work"
    return Start(seconds, startup, killed, *progress_of(folder))


def _compare(
    unbroken: Workspace, killed: Workspace, first: Start, starts: list[Start], redone: set[str]
) -> Outcome:
    before, after = contents_of(unbroken), contents_of(killed)
    lost, doubled = differences(before, after)
    report, abandoned = verify_dataset(killed), left_overs(killed)
    faults = [f"lost: {row}" for row in lost] + [f"doubled or changed: {row}" for row in doubled]
    faults += [f"shard redone: {name}" for name in sorted(redone)]
    faults += [f"verify: {fault}" for fault in report.faults] + [f"left over: {name}" for name in abandoned]
    total = sum(start.seconds for start in starts)
    startup = sum(start.startup_seconds for start in starts)
    return Outcome(
        ratio=total / first.seconds,
        ratio_without_startup=(total - startup) / (first.seconds - first.startup_seconds),
        kills=sum(start.killed for start in starts),
        kills_in_training=sum(start.killed and start.training_steps > 0 for start in starts),
        equal=not faults,
        lost=len(lost),
        doubled=len(doubled),
        redone_shards=len(redone),
        verify_clean=report.clean,
        left_overs=len(abandoned),
        shards=report.shards,
        rows=sum(before[table].total() for table in before),
        unbroken_seconds=first.seconds,
        unbroken_startup_seconds=first.startup_seconds,
        starts=starts,
        faults=faults,
        machine=machine(),
    )


def _print(figures: dict[str, Any]) -> None:
    table = Table("start", "seconds", "of them start-up", "killed", "rows", "steps", title=figures["title"])
    for number, start in enumerate(figures["starts"], 1):
        spans = [f"{start[key]:.1f}" for key in ("seconds", "startup_seconds")]
        killed = "yes" if start["killed"] else "no"
        table.add_row(str(number), *spans, killed, str(start["rows"]), str(start["training_steps"] or "–"))
    console = Console()
    console.print(table)
    lengths = [start["seconds"] for start in figures["starts"]]
    spread = f"{statistics.median(lengths):.1f} ({min(lengths):.1f} to {max(lengths):.1f})"
    console.print(f"seconds a start, median and spread: {spread}")
    for name, value in figures.items():
        if name not in ("title", "starts", "faults"):
            console.print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
    for fault in figures["faults"][:_SHOWN]:
        console.print(fault, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
