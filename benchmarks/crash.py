"""Kill parts of a served nightly run (flow, worker, server, database). It must recover by itself.

`cleanplate serve` runs with Prefect and ledger in PostgreSQL. Nightly compositing runs of at least 30 shards
start as runs of their deployment. SIGKILL hits one of the four parts at random. The benchmark restarts only
PostgreSQL, as an init system would. Everything else must recover without help. Goal: the result of
uninterrupted runs elsewhere, 0 lost, 0 doubled, the same bytes, verify clean. ``ratio`` is the wall time of
the nights with kills, divided by that of the same nights without.

Run: python -m benchmarks.crash [--kills 1] [--kills-a-night 10] [--large] [--seed 0] [--json]

One kill, the default, hits only the flow. Four kills hit each part once. Each kill takes minutes to recover
from. `--kills 100 --large` takes hours; a large night has twice the shards with four times the samples.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import temporary_settings

from benchmarks._contents import contents_of, differences, left_overs
from benchmarks._machine import machine
from benchmarks._postgresql import postgresql_programs
from benchmarks._processes import ends_in_time
from benchmarks._serving import Database, Served, Victim
from benchmarks._small_compositing import small_compositing
from data_specs.version import VerifyReport
from flows.nightly.composites import NightlyCompositingConfig, nightly_compositing
from flows.runtime.prefect_server import local_prefect
from tasks.storage.dataset import verify_dataset
from tasks.storage.workspace import Workspace

NightOf = Callable[[Path, date], NightlyCompositingConfig]
"""A night's settings in a workspace."""
_VICTIMS: tuple[Victim, ...] = ("flow", "worker", "server", "database")
_FIRST_NIGHT = date(2026, 11, 26)
_LONGEST_WAIT_SECONDS = 8.0
_PATIENCE_SECONDS = 900.0
_LOOK_SECONDS = 0.5
_SHOWN = 10


@dataclass(frozen=True)
class Kill:
    """One kill, and the time until the work continued."""

    night: str
    victim: Victim
    there: bool
    """False if the victim was not running at that moment. Then nothing was killed."""
    back_seconds: float


@dataclass(frozen=True)
class Outcome:
    """Results of the benchmark."""

    ratio: float
    kills: int
    nights: int
    shards_a_night: float
    equal: bool
    lost: int
    doubled: int
    verify_clean: bool
    left_overs: int
    shards: int
    rows: int
    starts: int
    """Of all runs together, by Prefect's count."""
    back_seconds_by_victim: dict[str, tuple[float, float]]
    """Median and maximum."""
    seconds: float
    kill_list: list[Kill]
    faults: list[str]
    machine: str


@ends_in_time
def main() -> None:
    """Measure and print. The exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--kills-a-night", type=int, default=10)
    parser.add_argument("--large", action="store_true", help="Nights of many minutes.")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other moments")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".crash-") as folder:
        nights = night_config if arguments.large else small_night
        outcome = crash(Path(folder), arguments.kills, arguments.kills_a_night, arguments.seed, nights)
    figures = asdict(outcome)
    if not arguments.as_json:
        figures["faults"] = figures["faults"][:_SHOWN]
        figures.pop("kill_list")
    print(json.dumps(figures, indent=2))
    sys.exit(not outcome.equal)


def crash(folder: Path, kills: int, kills_a_night: int, seed: int, config_of: NightOf) -> Outcome:
    """Run nights with kills and the same nights without, and list the differences."""
    programs = postgresql_programs()
    if programs is None:
        raise SystemExit("this benchmark kills PostgreSQL; install Debian's postgresql package")
    draw = random.Random(seed)
    killed, done, starts, nights = folder / "killed", list[Kill](), 0, 0
    with Database(programs) as database, Served(killed, folder / "serve.log", database) as served:
        began = time.monotonic()
        with temporary_settings(served.server.settings()), get_client(sync_client=True) as client:
            while sum(kill.there for kill in done) < kills:
                night = _FIRST_NIGHT + timedelta(days=nights)
                run = start_night(client, config_of(killed, night))
                left = min(kills_a_night, kills - sum(kill.there for kill in done))
                done += kill_night(served, client, run, night, left, draw, first=len(done))
                starts += client.read_flow_run(run.id).run_count
                nights += 1
        seconds = time.monotonic() - began
        served.stop()
        began = time.monotonic()
        unbroken = run_unbroken(folder / "unbroken", nights, config_of)
        ratio = seconds / (time.monotonic() - began)
        return _compare(unbroken, served.workspace(), done, nights, starts, seconds, ratio)


def night_config(place: Path, night: date) -> NightlyCompositingConfig:
    """A nightly run of at least 30 shards."""
    small = small_compositing(place)
    more = {"run_date": night, "attempts": 1500, "shard_attempts": 60}
    return NightlyCompositingConfig.model_validate({**small.model_dump(), **more})


def small_night(place: Path, night: date) -> NightlyCompositingConfig:
    """About half the shards of a night of ``night_config``, with a quarter of the samples in each."""
    facts = night_config(place, night).model_dump()
    facts["pairs"][0]["count"] //= 8
    facts["backgrounds"][0]["scenes"] //= 8
    facts["attempts"] //= 8
    for name in ("shard_attempts", "shard_pairs", "shard_backgrounds"):
        facts[name] //= 4
    return NightlyCompositingConfig.model_validate(facts)


def run_unbroken(place: Path, nights: int, config_of: NightOf) -> Workspace:
    """Run the same nights, one after the other, without kills."""
    with local_prefect(place / "prefect"):
        for number in range(nights):
            nightly_compositing(config_of(place, _FIRST_NIGHT + timedelta(days=number)))
    return Workspace.existing(place)


def start_night(client: SyncPrefectClient, config: NightlyCompositingConfig) -> FlowRun:
    """Start a run of the deployment, as its schedule would."""
    night = config.run_date
    deployment = client.read_deployment_by_name("nightly-compositing/nightly")
    parameters = {"config": config.model_dump(mode="json")}
    return client.create_flow_run_from_deployment(
        deployment.id, parameters=parameters, idempotency_key=f"night {night}"
    )


def kill_night(
    served: Served,
    client: SyncPrefectClient,
    run: FlowRun,
    night: date,
    kills: int,
    draw: random.Random,
    first: int,
) -> list[Kill]:
    """Kill at random moments of the night's work.

    Wait each time until it continues, and finally until it ends.
    """
    done: list[Kill] = []
    served.wait_for_work(client, run, _PATIENCE_SECONDS)
    while sum(kill.there for kill in done) < kills and not served.completed(client, run):
        time.sleep(draw.uniform(0, _LONGEST_WAIT_SECONDS))
        victim = _VICTIMS[(first + len(done)) % len(_VICTIMS)]
        there = served.kill(victim, client, run)
        since = time.monotonic()
        if there:
            served.wait_for_work(client, run, _PATIENCE_SECONDS)
        done.append(Kill(night.isoformat(), victim, there, time.monotonic() - since))
        print(f"{len(done) + first}: {done[-1]}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not served.completed(client, run):
        if time.monotonic() > deadline:
            raise SystemExit(f"the night of {night} did not come back; see {served.log}")
        time.sleep(_LOOK_SECONDS)
    return done


def _compare(
    unbroken: Workspace,
    killed: Workspace,
    kills: list[Kill],
    nights: int,
    starts: int,
    seconds: float,
    ratio: float,
) -> Outcome:
    before, after = contents_of(unbroken), contents_of(killed)
    lost, doubled = differences(before, after)
    report: VerifyReport = verify_dataset(killed)
    abandoned = left_overs(killed)
    faults = [f"lost: {row}" for row in lost] + [f"doubled or changed: {row}" for row in doubled]
    faults += [f"verify: {fault}" for fault in report.faults] + [f"left over: {name}" for name in abandoned]
    real = [kill for kill in kills if kill.there]
    back = {victim: [kill.back_seconds for kill in real if kill.victim == victim] for victim in _VICTIMS}
    return Outcome(
        ratio=ratio,
        kills=len(real),
        nights=nights,
        shards_a_night=report.shards / max(1, nights),
        equal=not faults,
        lost=len(lost),
        doubled=len(doubled),
        verify_clean=report.clean,
        left_overs=len(abandoned),
        shards=report.shards,
        rows=sum(before[table].total() for table in before),
        starts=starts,
        back_seconds_by_victim={
            victim: (statistics.median(times), max(times)) for victim, times in back.items() if times
        },
        seconds=seconds,
        kill_list=kills,
        faults=faults,
        machine=machine(),
    )


if __name__ == "__main__":
    main()
