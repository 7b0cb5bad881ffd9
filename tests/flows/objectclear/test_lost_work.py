"""Prefect remembers work that the workspace has lost: it is done again, and nothing else is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from prefect import flow
from sqlalchemy import event

from data_specs.seconds import Seconds
from data_specs.shard import ShardRef
from flows.ingest import ingest
from flows.ingest_config import ClipSource, IngestConfig, SyntheticSource
from flows.objectclear.compositing import CompositingConfig, objectclear_compositing
from flows.runtime.shards import map_shards
from tasks.execution import INLINE
from tasks.execution.shard_task import lost_works
from tasks.rorem.propose import ProposeWork, propose_shard
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.readers import FolderSource
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset import load_samples, verify_dataset
from tasks.storage.shards.writer import tar_path
from tasks.storage.workspace import Workspace, items_of
from tests.flows.conftest import filmed

pytestmark = pytest.mark.usefixtures("prefect_server")

Lose = Callable[[Path, Path], None]


def lose_workspace(place: Path, _backup: Path) -> None:
    shutil.rmtree(place)


def lose_ledger(place: Path, _backup: Path) -> None:
    for path in place.glob("ledger.sqlite*"):
        path.unlink()


def restore_older_ledger(place: Path, backup: Path) -> None:
    lose_ledger(place, backup)
    for path in backup.glob("ledger.sqlite*"):
        shutil.copy(path, place)


def delete_tar(place: Path, _backup: Path) -> None:
    """The newest: it is of the work that is done again."""
    max((place / "shards").glob("*.tar"), key=lambda path: path.stat().st_mtime_ns).unlink()


def delete_all_tars(place: Path, _backup: Path) -> None:
    for path in (place / "shards").glob("*.tar"):
        path.unlink()


LOSSES = [lose_workspace, lose_ledger, restore_older_ledger, delete_tar]


def keep_copy_of_ledger(place: Path, backup: Path) -> None:
    """As an operator does it, with nothing running."""
    backup.mkdir()
    for path in place.glob("ledger.sqlite*"):
        shutil.copy(path, backup)


def held(place: Path) -> list[str]:
    """The keys of all samples, asked of the ledger's file itself; every shard's bytes are checked first.

    A shard that only the lost ledger knew, and that nobody made again, may lie there: orphaned.
    """
    faults = verify_dataset(Workspace.existing(place)).faults
    assert [fault for fault in faults if fault.kind != "orphaned"] == []
    with sa.create_engine(f"sqlite:///{place}/ledger.sqlite").connect() as connection:
        return sorted(connection.scalars(sa.text("SELECT key FROM samples")))


def current_version(workspace: Workspace) -> int:
    version = workspace.ledger().versions.current()
    assert version is not None
    return version.number


def folder(tmp_path: Path, write_pair) -> FolderSource:
    for number in range(5):
        write_pair(tmp_path / "pairs", f"p{number}", number)
    write_pair(tmp_path / "pairs", "z refused", 9)
    (tmp_path / "pairs/mask/z refused.png").unlink()
    return FolderSource(path=tmp_path / "pairs", size_px=32)


@pytest.mark.parametrize("lose", LOSSES)
def test_a_folders_samples_are_there_again(tmp_path: Path, write_pair, lose: Lose) -> None:
    place, backup = tmp_path / "workspace", tmp_path / "backup"
    ingest(
        IngestConfig(workspace=place, source=SyntheticSource(renderer=SyntheticConfig(size_px=32), count=2))
    )
    keep_copy_of_ledger(place, backup)
    others = held(place)
    config = IngestConfig(workspace=place, source=folder(tmp_path, write_pair), shard_samples=2)
    before = ingest(config)
    wanted = set(held(place)) - set(others)
    assert len(wanted) == before.samples == 5
    lose(place, backup)
    again = ingest(config)
    assert (again.samples, again.rejects) == (5, {"file is missing": 1})
    assert wanted <= set(held(place))
    workspace = Workspace.existing(place)
    assert workspace.ledger().rejects.counts() == {"file is missing": 1}
    assert wanted <= {sample.key for sample in load_samples(workspace, current_version(workspace))}


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("stage", [pytest.param("triplets", marks=pytest.mark.slow), "pool"])
def test_studio_shots_are_there_again_and_their_truth(tmp_path: Path, lose: Lose, stage) -> None:
    place, backup = tmp_path / "workspace", tmp_path / "backup"
    Workspace.open(place).ledger()
    keep_copy_of_ledger(place, backup)
    studio = SyntheticSource(renderer=SyntheticConfig(size_px=32), count=4, stage=stage)
    config = IngestConfig(workspace=place, source=studio, shard_samples=2)
    before, keys = ingest(config), held(place)
    if lose is delete_tar:  # the truth's, of which the pool's task run tells nothing
        sorted((place / "shards").glob("*.tar"))[-1].unlink()
    else:
        lose(place, backup)
    assert ingest(config).samples == before.samples == 4
    assert held(place) == keys


@pytest.mark.slow
@pytest.mark.parametrize("lose", LOSSES)
def test_a_clips_pairs_are_there_again(tmp_path: Path, lose: Lose) -> None:
    place, backup = tmp_path / "workspace", tmp_path / "backup"
    Workspace.open(place).ledger()
    keep_copy_of_ledger(place, backup)
    config = IngestConfig(workspace=place, source=ClipSource(frame_step=40))
    before, keys = ingest(config), held(place)
    assert keys
    lose(place, backup)
    again = ingest(config)
    assert (again.samples, again.rejects) == (before.samples, before.rejects)
    assert held(place) == keys


@pytest.mark.slow
def test_composites_cutouts_plates_and_pool_items_are_there_again(tmp_path: Path) -> None:
    place, backup = tmp_path / "workspace", tmp_path / "backup"
    Workspace.open(place).ledger()
    keep_copy_of_ledger(place, backup)
    studio = SyntheticConfig(size_px=64, seed=9)
    config = CompositingConfig(
        workspace=place, pairs=(SyntheticPairs(renderer=studio, count=6),), add_to_pool=True, shard_pairs=3,
        backgrounds=(SyntheticBackgrounds(renderer=studio, scenes=4),), attempts=4, shard_attempts=4,
    )  # fmt: skip
    before, keys = objectclear_compositing(config), held(place)
    stages = {ref.stage for ref in Workspace.existing(place).ledger().shards.all()}
    assert stages >= {"cutouts", "plates", "composites", "pool", "truth", "refused"}
    for lose in (*LOSSES, delete_all_tars):
        lose(place, backup)
        assert objectclear_compositing(config) == before
        assert held(place) == keys


def test_only_the_lost_candidates_are_made_again(studio) -> None:
    items = items_of(studio.workspace, [studio.pool])
    works = [
        ProposeWork(
            round=1, index=number, phase="human 1", purpose="human", pool=(studio.pool,), items=(key,),
            variants=("tight",), remover=studio.remover,
        )
        for number, key in enumerate(items[:3])
    ]  # fmt: skip

    @flow
    def propose() -> list[ShardRef]:
        return map_shards(propose_shard, studio.workspace, works, INLINE, "candidates")

    refs = propose()
    written = [tar_path(studio.workspace, ref.name) for ref in refs]
    bytes_before, moments = [p.read_bytes() for p in written], [p.stat().st_mtime_ns for p in written]
    written[1].unlink()
    assert propose() == refs
    assert [path.read_bytes() for path in written] == bytes_before
    after = [path.stat().st_mtime_ns for path in written]
    assert [old == new for old, new in zip(moments, after, strict=True)] == [True, False, True]


def test_a_shard_that_another_work_wrote_first_counts_too(tmp_path: Path) -> None:
    """Two works whose samples are the same share one shard, which bears the first one's digest."""
    workspace, studio = Workspace.open(tmp_path), SyntheticConfig(size_px=32)
    first = RenderWork(round=0, index=0, stage="triplets", renderer=studio, first=0, count=2)
    ref = render(workspace, first)
    workspace.ledger().costs.record("second", "render", Seconds(wall=1, cpu=1, gpu=0))
    assert lost_works(workspace, {"second": ref}) == set()
    tar_path(workspace, ref.name).unlink()
    assert lost_works(workspace, {"second": ref}) == {"second"}


def test_the_ledger_is_asked_once_for_all_shards(tmp_path: Path) -> None:
    workspace, statements = Workspace.open(tmp_path), []
    ledger = workspace.ledger()
    ref = render(
        workspace,
        RenderWork(
            round=0, index=0, stage="triplets", renderer=SyntheticConfig(size_px=32), first=0, count=1
        ),
    )
    for number in range(300):
        ledger.costs.record(f"work {number}", "render", Seconds(wall=1, cpu=1, gpu=0))

    def asked(works: int) -> int:
        del statements[:]
        assert lost_works(workspace, {f"work {number}": ref for number in range(works)}) == set()
        return len(statements)

    def note(_connection, _cursor, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        few, many = asked(1), asked(300)
    finally:
        event.remove(sa.Engine, "before_cursor_execute", note)
    assert few == many == 3, "the ledger's own version is asked too"


__all__ = ["filmed"]
