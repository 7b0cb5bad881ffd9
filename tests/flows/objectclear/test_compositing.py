"""Compositing through the real flow, on a real Prefect server."""

from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import State

from data_specs.composite import CompositingResult
from data_specs.errors import FlowError, InputError
from flows.objectclear.compositing import CompositingConfig, compose_works, objectclear_compositing
from models.perception.registry import detector_words
from tasks.sources.backgrounds import FolderBackgrounds, SyntheticBackgrounds
from tasks.sources.pairs import FolderPairs, SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import ShardReader, decode_composite
from tasks.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


def small(place: Path, **settings) -> CompositingConfig:
    studios = [SyntheticConfig(size_px=96, seed=9, split=split) for split in ("train", "validation")]
    return CompositingConfig(
        workspace=place,
        pairs=tuple(SyntheticPairs(renderer=each, count=15) for each in studios),
        backgrounds=tuple(SyntheticBackgrounds(renderer=each, scenes=6) for each in studios),
        attempts=24,
        shard_pairs=10,
        shard_backgrounds=4,
        shard_attempts=8,
        **settings,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("composed") / "workspace"


@pytest.fixture(scope="module")
def finished(prefect_server: None, place: Path) -> State:
    return objectclear_compositing(small(place, add_to_pool=True), return_state=True)


@pytest.fixture(scope="module")
def result(finished: State) -> CompositingResult:
    return cast(CompositingResult, finished.result())


def test_pairs_and_backgrounds_become_composites_of_both_splits(result, place: Path) -> None:
    cutouts, plates, composites = result.stages
    workspace = Workspace.existing(place)
    assert cutouts.kept + sum(cutouts.rejects.values()) == 30
    assert plates.kept + sum(plates.rejects.values()) == 12
    assert set(composites.by_split) == {"train", "validation"}
    assert composites.kept == sum(ref.samples for ref in workspace.ledger().shards.all(stage="composites"))
    assert sum(composites.tallies["objects"].values()) == composites.kept
    assert sum(cutouts.tallies["shadow class"].values()) == cutouts.kept
    assert verify_dataset(workspace).clean
    refused = {name: n for stage in result.stages for name, n in stage.rejects.items()}
    assert workspace.ledger().rejects.counts() == refused


def test_no_composite_mixes_splits(result, place: Path) -> None:
    workspace = Workspace.existing(place)
    scenes: dict[str, set[str]] = {}
    with ShardReader(workspace, workspace.ledger().shards.all(stage="composites")) as reader:
        for at in range(len(reader)):
            composite = decode_composite(reader[at])
            scenes.setdefault(composite.split, set()).update(composite.scenes)
    assert not scenes["train"] & scenes["validation"]


def test_the_pool_holds_them_for_rounds_to_draw(result, place: Path) -> None:
    workspace = Workspace.existing(place)
    trained = len(workspace.ledger().draws.pool_items("train"))
    assert result.pool_items == result.composites
    assert trained == result.stages[-1].by_split["train"]


def test_a_second_run_redoes_nothing(finished: State, result: CompositingResult, place: Path) -> None:
    workspace = Workspace.existing(place)
    files = {path: path.stat().st_mtime_ns for path in workspace.shards_dir.iterdir()}
    again = objectclear_compositing(small(place, add_to_pool=True), return_state=True)
    assert again.result() == result
    assert {path: path.stat().st_mtime_ns for path in workspace.shards_dir.iterdir()} == files
    with get_client(sync_client=True) as client:
        tasks, before = (
            client.read_task_runs(
                task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run_of(state)]))
            )
            for state in (again, finished)
        )
    assert len(tasks) == len(before) > result.shards
    assert {each.state_name for each in tasks} == {"Cached"}


def run_of(state: State) -> UUID:
    """The flow run that ended so; other tests' runs in this session's server bear the same name."""
    run = state.state_details.flow_run_id
    assert run is not None
    return run


def test_the_run_shows_counts_sheets_and_charts(
    finished: State, result: CompositingResult, place: Path
) -> None:
    wanted = ["compositing", "shadow-rose", "object-area", "samples-composites-accepted"]
    with get_client(sync_client=True) as client:
        key = ArtifactFilterKey(any_=[*wanted, "samples-cut-outs-refused"])
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=key),
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_of(finished)])),
        )
    kinds = {each.key: each.type for each in found}
    assert set(wanted) <= set(kinds)
    assert kinds["samples-composites-accepted"] == "image"
    (table, *_) = [str(each.data) for each in found if each.key == "compositing"]
    for stage in result.stages:
        for reason, count in stage.rejects.items():
            assert f'"what": "refused: {reason}", "count": "{count:,}"' in table
    images = {path.name for path in (place / "reports/compositing").iterdir()}
    assert {"cut-outs-accepted.png", "plates-accepted.png", "composites-accepted.png"} <= images


def test_more_draws_keep_the_full_shards_there_are(result, place: Path) -> None:
    workspace = Workspace.existing(place)
    ledger = workspace.ledger()
    parts = [ledger.shards.all(stage=stage) for stage in ("cutouts", "plates")]
    config = small(place)
    before = {work.digest for work in compose_works(config, workspace, *parts)}
    more = config.model_copy(update={"attempts": 48})
    after = {work.digest for work in compose_works(more, workspace, *parts)}
    assert len(before & after) >= 1
    assert all(ledger.shards.find(digest) for digest in before)


def test_nothing_to_compose_is_one_sentence_with_the_reason(
    tmp_path: Path, write_pair, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path / "pairs", "a", 1)
    (tmp_path / "pairs/source/a.png").write_bytes(b"no image")
    config = small(tmp_path / "w").model_copy(
        update={"pairs": (FolderPairs(path=tmp_path / "pairs"),), "attempts": 23}
    )
    with pytest.raises(FlowError, match=r"made no cut-outs \(1× unreadable image\)"):
        objectclear_compositing(config)
    assert Workspace.existing(tmp_path / "w").ledger().rejects.counts() == {"unreadable image": 1}
    said = " ".join(capsys.readouterr().err.split())
    assert detector_words(config.perception.detector) in said, "a run that sees says with which detector"


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    config = small(tmp_path).model_copy(update={"backgrounds": (FolderBackgrounds(path=tmp_path / "none"),)})
    with pytest.raises(InputError, match="is not a folder"):
        objectclear_compositing(config)
