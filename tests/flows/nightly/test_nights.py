"""Nights: which one a run is for, that each is done once, and what the flows on schedules leave behind."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from pydantic import ValidationError

from data_specs.composite import CompositingResult
from data_specs.errors import FlowError, WorkerError
from data_specs.losses import TrainingLosses
from flows.nightly import nights
from flows.nightly.candidates import CandidatesResult, NightlyCandidatesConfig, nightly_candidates
from flows.nightly.composites import NightlyCompositingConfig, nightly_compositing
from flows.nightly.nights import NightSettings, night_of, night_seed
from flows.rorem.config import RoundConfig
from flows.rorem.phases import Phase, accept_by_score
from flows.rorem.retrain import (
    RetrainConfig,
    RetrainTrigger,
    grown_since_training,
    retrain,
)
from models.rorem.discriminator import DiscriminatorConfig, DiscriminatorNetwork, LoraDiscriminator
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.execution import ProcessesConfig, run_shard, workers_of
from tasks.execution.executor import Pool
from tasks.registry.store import keep_model, network_at, record
from tasks.rorem.train_discriminator import DiscriminatorRef, TrainedDiscriminator
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import render
from tasks.storage.dataset import load_samples
from tasks.storage.workspace import LEDGER_VARIABLE, Workspace
from tests.tasks.conftest import render_work
from tests.tasks.execution.jobs import own_pid

ONE, TWO = date(2026, 11, 26), date(2026, 11, 27)


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def run_and_tasks(client: SyncPrefectClient, flow, config) -> tuple[Any, str, list[TaskRun]]:
    """What a flow gave, its run's name and its task runs."""
    state = flow(config, return_state=True)
    run: UUID = state.state_details.flow_run_id
    named = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))[0].name
    of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run]))
    return state.result(), named, client.read_task_runs(task_run_filter=of_run)


def pages_of(client: SyncPrefectClient, ended: State[Any]) -> list[list[str]]:
    """The lines of each daily report that a flow run shows."""
    run = ended.state_details.flow_run_id
    assert run is not None
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(any_=["daily-report"])
    )
    return [str(each.data).splitlines() for each in client.read_artifacts(artifact_filter=wanted)]


@pytest.mark.parametrize(
    ("due", "timezone", "night"),
    [
        (datetime(2026, 11, 25, 23, 30, tzinfo=UTC), "UTC", date(2026, 11, 25)),
        (datetime(2026, 11, 25, 23, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 11, 26)),
        (datetime(2026, 11, 26, 4, 59, tzinfo=UTC), "America/New_York", date(2026, 11, 25)),
    ],
)
def test_the_night_is_the_zones_date_on_which_the_run_was_due(
    monkeypatch: pytest.MonkeyPatch, due: datetime, timezone: str, night: date
) -> None:
    monkeypatch.setattr(flow_run, "get_scheduled_start_time", lambda: due)
    assert night_of(NightSettings(timezone=timezone)) == night
    assert night_of(NightSettings(timezone=timezone, run_date=TWO)) == TWO


def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="'Berlin' is not a time zone; write one such as Europe/Berlin"):
        NightSettings(timezone="Berlin")


def test_each_night_has_a_seed_of_its_own() -> None:
    seeds = {night_seed(seed, night) for seed in (0, 1) for night in (ONE, TWO)}
    assert len(seeds) == 4
    assert night_seed(0, ONE) in seeds


def small_compositing(place: Path, night: date) -> NightlyCompositingConfig:
    studio = SyntheticConfig(size_px=64, seed=9)
    return NightlyCompositingConfig(
        workspace=place, run_date=night, pairs=(SyntheticPairs(renderer=studio, count=12),),
        backgrounds=(SyntheticBackgrounds(renderer=studio, scenes=6),), attempts=8, shard_pairs=6,
        shard_backgrounds=6, shard_attempts=4,
    )  # fmt: skip


def test_a_night_of_compositing_is_done_once_and_the_next_makes_other_images(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    place = tmp_path / "workspace"
    first, name, tasks = run_and_tasks(client, nightly_compositing, small_compositing(place, ONE))
    ledger = Workspace.existing(place).ledger()
    made = ledger.shards.all()
    assert name == "compositing, night 2026-11-26"
    assert len(tasks) == 2 + 1 + 2 + 2, "pairs, backgrounds, draws and pool, a task run a shard"
    again, _, tasks = run_and_tasks(client, nightly_compositing, small_compositing(place, ONE))
    assert (again, tasks, ledger.shards.all()) == (first, [], made)
    later, _, _ = run_and_tasks(client, nightly_compositing, small_compositing(place, TWO))
    new = [ref for ref in ledger.shards.all() if ref not in made]
    assert {ref.stage for ref in new} <= {"composites", "pool", "truth", "refused"}
    assert sum(ref.samples for ref in new if ref.stage == "composites") == later.composites > 0
    keys = [
        row.key for ref in ledger.shards.all(stage="composites") for row in ledger.shards.samples_of(ref.name)
    ]
    assert len(keys) == len(set(keys)) == first.composites + later.composites


def test_a_night_of_compositing_ends_with_a_page_of_what_it_made_and_refused_and_only_once(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    config = small_compositing(tmp_path / "workspace", ONE)
    done, again = (nightly_compositing(config, return_state=True) for _ in range(2))
    ledger, result = Workspace.existing(config.workspace).ledger(), done.result()
    assert isinstance(result, CompositingResult)
    refused = Counter(each.reason.value for each in ledger.rejects.all())
    [page] = pages_of(client, done)
    assert f"- {result.composites} accepted, at no cost, because no price is set." in page
    assert f"| composites | {len(ledger.shards.all(stage='composites'))} | {result.composites} |" in page
    assert refused, "or nothing is seen of the refusals"
    assert [f"| {reason} | {count} |" in page for reason, count in refused.items()] == [True] * len(refused)
    assert pages_of(client, again) == []


def test_a_night_of_candidates_ends_with_a_page_that_counts_what_joined(
    client: SyncPrefectClient, studio: SimpleNamespace
) -> None:
    untrained_discriminator(studio)
    done = nightly_candidates(small_candidates(studio, ONE), return_state=True)
    [page] = pages_of(client, done)
    result = done.result()
    assert isinstance(result, CandidatesResult)
    assert "| candidates | 3 | 20 |" in page
    assert "| grown | 1 | 10 |" in page
    assert any(
        line.startswith(
            f"- Dataset version {result.version} has {studio.version.samples + 10} samples, +10: "
        )
        for line in page
    )


def untrained_discriminator(studio: SimpleNamespace) -> DiscriminatorRef:
    """A discriminator whose scores mean nothing, entered as a training would."""
    workspace, config = studio.workspace, DiscriminatorConfig(head="pooled", head_width=8)
    network = network_at(workspace.root / studio.remover.folder)
    discriminator = LoraDiscriminator(DiscriminatorNetwork(network, config, seed=0), config)
    entry = record(
        workspace, kind="discriminator", model_hash=discriminator.model_hash,
        folder=keep_model(workspace, "judge", discriminator.save), parent=None, dataset_version=None,
        metrics={},
    )  # fmt: skip
    ref = DiscriminatorRef(hash=entry.hash, folder=entry.path, backbone=studio.remover)
    trained = TrainedDiscriminator(discriminator=ref, reviewed=0, losses=TrainingLosses())
    workspace.ledger().results.record("discriminator_training", "work", trained)
    return ref


def small_candidates(studio: SimpleNamespace, night: date, **changes) -> NightlyCandidatesConfig:
    facts = {
        "workspace": studio.workspace.root, "run_date": night, "items": 10, "variants": ("tight", "dilated"),
        "shard_items": 4, "sampling": SamplingConfig(steps=1), "score_threshold": 0.0,
        "retrain": RetrainTrigger(after=1000),
    }  # fmt: skip
    return NightlyCandidatesConfig.model_validate({**facts, **changes})


def test_without_a_discriminator_a_nights_candidates_wait_for_people(
    client: SyncPrefectClient, studio: SimpleNamespace
) -> None:
    result, name, tasks = run_and_tasks(client, nightly_candidates, small_candidates(studio, ONE))
    assert name == "candidates, night 2026-11-26"
    assert sorted(task.name for task in tasks) == [
        "choose 10 items for nightly candidates 2026-11-26",
        *(f"propose night 2026-11-26 {number}" for number in range(3)),
    ]
    assert (result.items, result.candidates, result.accepted, result.discriminator) == (10, 20, 0, None)
    assert result.version == studio.version.number
    untrained_discriminator(studio)
    assert run_and_tasks(client, nightly_candidates, small_candidates(studio, ONE))[0] == result


def test_with_a_discriminator_the_dataset_grows_and_no_item_is_drawn_twice(
    client: SyncPrefectClient, studio: SimpleNamespace
) -> None:
    workspace, discriminator = studio.workspace, untrained_discriminator(studio)
    results = [
        run_and_tasks(client, nightly_candidates, small_candidates(studio, night))[0]
        for night in (ONE, TWO, date(2026, 11, 28))
    ]
    assert [each.items for each in results] == [10, 10, 4], "the pool has 24"
    assert [each.accepted for each in results] == [10, 10, 4]
    assert {each.discriminator for each in results} == {discriminator.hash}
    samples = load_samples(workspace, results[-1].version)
    assert len({sample.key for sample in samples}) == len(samples) == studio.version.samples + 24
    current = workspace.ledger().versions.current()
    assert current is not None
    assert current.number == results[-1].version
    assert grown_since_training(workspace, current) == 24
    nothing = run_and_tasks(client, nightly_candidates, small_candidates(studio, date(2026, 11, 29)))[0]
    assert (nothing.items, nothing.candidates, nothing.version) == (0, 0, current.number)


def test_a_nights_workers_propose_and_discriminator(
    client: SyncPrefectClient, studio: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, workspace = ProcessesConfig(count=1), studio.workspace
    run_and_tasks(client, nightly_candidates, small_candidates(studio, ONE))
    refs = workspace.ledger().shards.all(stage="candidates")
    run_shard(one, workspace, "x", "to start it", own_pid)
    # The same ledger by another name, which the process does not know: whatever it is asked, it refuses.
    monkeypatch.setenv(LEDGER_VARIABLE, f"sqlite:////{workspace.root}/ledger.sqlite")
    asking = small_candidates(studio, TWO, workers=one)
    with pytest.raises(WorkerError, match="has another ledger than the flow"):
        accept_by_score(
            workspace, Phase("x", "night two", "night", 0), refs, untrained_discriminator(studio), 0.9, one
        )
    with pytest.raises(WorkerError, match="has another ledger than the flow"):
        nightly_candidates(asking)
    used = workers_of(one)
    assert isinstance(used, Pool)
    used.close()


def test_a_version_is_trained_on_once_and_grows_count_from_there(
    client: SyncPrefectClient, studio: SimpleNamespace
) -> None:
    workspace, ledger = studio.workspace, studio.workspace.ledger()
    render(workspace, render_work("triplets", 9, "validation", 5, 4))
    untrained_discriminator(studio)
    grown = run_and_tasks(client, nightly_candidates, small_candidates(studio, ONE))[0]
    config = RetrainConfig(
        workspace=workspace.root, version=grown.version, training=TrainingConfig(steps=2, batch_size=4),
        sampling=SamplingConfig(steps=1),
    )  # fmt: skip
    outcome, name, tasks = run_and_tasks(client, retrain, config)
    assert name == f"retrain on version {grown.version}"
    assert [task.name for task in tasks if task.name.startswith("train ")] == [
        f"train remover: version {grown.version}"
    ]
    assert outcome.standing.version == grown.version == workspace.ledger().models.last_trained_version()
    current = ledger.versions.current()
    assert current is not None
    assert grown_since_training(workspace, current) == 0
    assert run_and_tasks(client, retrain, config)[::2] == (outcome, [])
    of_the_current = config.model_copy(update={"version": None})
    assert run_and_tasks(client, retrain, of_the_current)[1] == f"retrain on version {current.number}"


def test_a_run_whose_name_nobody_can_tell_says_what_is_missing(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    ended = retrain(RetrainConfig(workspace=tmp_path / "empty"), return_state=True)
    with pytest.raises(FlowError, match="has no dataset version; run `cleanplate ingest` first"):
        ended.result()
    run = ended.state_details.flow_run_id
    assert run is not None
    assert client.read_flow_run(run).name == "retrain"


def test_nights_and_rounds_sample_alike_so_that_a_remover_has_one_name() -> None:
    assert NightlyCandidatesConfig().sampling == RetrainConfig().sampling == RoundConfig().sampling


def test_every_setting_is_described() -> None:
    for kind in (
        NightSettings,
        NightlyCompositingConfig,
        NightlyCandidatesConfig,
        RetrainConfig,
        RetrainTrigger,
    ):
        silent = [name for name, field in kind.model_fields.items() if not field.description]
        assert silent == [], f"{kind.__name__} in {nights.__name__} and its kin"
