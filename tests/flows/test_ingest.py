"""Ingesting through the real flow, on a real Prefect server."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from data_specs.errors import InputError
from flows.ingest import ingest
from flows.ingest_config import ClipSource, IngestConfig, SyntheticSource
from tasks.execution.executor import INLINE, ProcessesConfig
from tasks.sources.readers import FolderSource
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.dataset import load_samples, rollback, verify_dataset
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def pairs(tmp_path: Path, write_pair) -> Path:
    """Four good pairs, and four that each fail in another way."""
    folder = tmp_path / "pairs"
    for number in range(4):
        write_pair(folder, f"good{number}", number)
    for number, stem in enumerate(("cut", "empty", "lonely", "twice")):
        write_pair(folder, stem, 10 + number)
    whole = (folder / "source/cut.png").read_bytes()
    (folder / "source/cut.png").write_bytes(whole[: len(whole) // 2])
    assert cv2.imwrite(str(folder / "mask/empty.png"), np.zeros((48, 48), np.uint8))
    (folder / "mask/lonely.png").unlink()
    for part in ("source", "mask", "ground_truth"):
        shutil.copy(folder / part / "good1.png", folder / part / "twice.png")
    return folder


REJECTS = {
    "already in the dataset": 1,
    "file is missing": 1,
    "mask is empty": 1,
    "truncated image": 1,
}


def test_a_folder_end_to_end_and_a_second_time(tmp_path: Path, pairs: Path) -> None:
    place = tmp_path / "workspace"
    config = IngestConfig(
        workspace=place, source=FolderSource(path=pairs, size_px=32), shard_samples=3, image_format="png"
    )
    result = ingest(config)
    assert (result.samples, result.shards, result.added, result.version) == (4, 2, 4, 1)
    assert result.rejects == REJECTS
    assert sum(result.by_split.values()) == 4
    workspace = Workspace.existing(place)
    ledger = workspace.ledger()
    assert {each.name.rpartition("/")[2] for each in ledger.rejects.all()} == {
        "cut",
        "empty",
        "lonely",
        "twice",
    }
    with ShardReader(workspace, ledger.shards.all(), check=True) as reader:
        triplets = [decode_triplet(reader[position]) for position in range(len(reader))]
    found = {each.origin.rpartition("/")[2]: each for each in triplets}
    assert sorted(found) == ["good0", "good1", "good2", "good3"]
    inside = found["good2"].source[13:19, 13:19].reshape(-1, 3)
    assert np.abs(inside.astype(int) - (60, 30, 200)).max() <= 1  # Written as BGR, read as RGB.
    assert ledger.rejects.counts() == REJECTS
    assert len(load_samples(workspace, 1)) == 4

    shards = ledger.shards.all()
    again = ingest(config)
    assert (again.added, again.version, again.rejects) == (0, None, REJECTS)
    assert ledger.shards.all() == shards
    assert ledger.rejects.counts() == REJECTS
    assert len(ledger.versions.all()) == 1
    assert verify_dataset(workspace).clean


def test_a_second_source_grows_the_version_and_a_rollback_is_not_forever(tmp_path: Path, pairs: Path) -> None:
    place = tmp_path / "workspace"
    first = ingest(IngestConfig(workspace=place, source=FolderSource(path=pairs, size_px=32)))
    studio = SyntheticSource(renderer=SyntheticConfig(size_px=32, split="test"), count=3)
    config = IngestConfig(workspace=place, source=studio, shard_samples=2)
    second = ingest(config)
    assert (first.version, second.version, second.added, second.shards) == (1, 2, 3, 2)
    workspace = Workspace.existing(place)
    version = workspace.ledger().versions.numbered(2)
    assert (version.parents, version.samples) == ((1,), 7)
    assert second.by_split == {"test": 3}
    rollback(workspace, 1, "to see")
    again = ingest(config)
    current = workspace.ledger().versions.current()
    assert current is not None
    assert again.version == current.number == 2


def test_two_processes_give_the_shards_of_one(tmp_path: Path, pairs: Path) -> None:
    source = FolderSource(path=pairs, size_px=32)
    one, two = (
        IngestConfig(workspace=tmp_path / str(workers.count), source=source, shard_samples=2, workers=workers)
        for workers in (INLINE, ProcessesConfig(count=2))
    )
    assert ingest(one) == ingest(two)
    places = [Workspace.existing(config.workspace) for config in (one, two)]
    shards, others = (place.ledger().shards.all() for place in places)
    assert [ref.sha256 for ref in shards] == [ref.sha256 for ref in others]
    refused, otherwise = (place.ledger().rejects.all() for place in places)
    assert refused == otherwise != []
    left = {path.name for path in (places[1].root / "reading").iterdir()}
    assert left == {"digests.sqlite"}, "the table and the parts are removed"
    with get_client(sync_client=True) as client:
        names = {run.name for run in client.read_task_runs(limit=200)}
    assert {"read folder 0", "read folder 1", "read folder 2", "ingest folder 0"} <= names


def test_a_pool_makes_no_version(tmp_path: Path) -> None:
    studio = SyntheticSource(renderer=SyntheticConfig(size_px=32), count=2, stage="pool")
    result = ingest(IngestConfig(workspace=tmp_path, source=studio))
    assert (result.samples, result.added, result.version) == (2, 0, None)
    assert {ref.stage for ref in Workspace.existing(tmp_path).ledger().shards.all()} == {"pool", "truth"}


def test_the_table_of_counts_is_in_prefect(tmp_path: Path, pairs: Path) -> None:
    ingest(IngestConfig(workspace=tmp_path / "w", source=FolderSource(path=pairs, size_px=32)))
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["ingest"]))
        tables = client.read_artifacts(artifact_filter=wanted)
    assert any('"what": "reject", "of": "mask is empty", "count": 1' in str(each.data) for each in tables)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (FolderSource(path=Path("/nonexistent")), "does not exist"),
        (ClipSource(path=Path("/nonexistent.mp4")), "cannot be read"),
    ],
)
def test_a_source_that_is_not_there_is_one_sentence(tmp_path: Path, source, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ingest(IngestConfig(workspace=tmp_path, source=source))
