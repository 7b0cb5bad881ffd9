"""What docs/operations/runbook.md says of an altered shard: found, deleted, made again with its bytes."""

from datetime import date
from pathlib import Path

import pytest

from flows.nightly.composites import NightlyCompositingConfig, nightly_compositing
from flows.nightly.nights import night_seed
from flows.objectclear.compositing import CompositingConfig, objectclear_compositing
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards.writer import tar_path
from tasks.storage.workspace import Workspace

NIGHT = date(2026, 11, 26)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_an_altered_shard_of_a_night_is_deleted_and_made_again_from_the_nights_seed(tmp_path: Path) -> None:
    studio = SyntheticConfig(size_px=64, seed=9)
    night = NightlyCompositingConfig(
        workspace=tmp_path / "workspace", run_date=NIGHT, pairs=(SyntheticPairs(renderer=studio, count=6),),
        backgrounds=(SyntheticBackgrounds(renderer=studio, scenes=4),), attempts=4, shard_attempts=4,
    )  # fmt: skip
    nightly_compositing(night)
    workspace = Workspace.existing(night.workspace)
    [ref] = workspace.ledger().shards.all(stage="composites")
    tar = tar_path(workspace, ref.name)
    before = tar.read_bytes()
    tar.write_bytes(before[:-2000] + b"!" + before[-1999:])
    assert [fault.kind for fault in verify_dataset(workspace).faults] == ["altered"]

    tar.unlink()
    fields = night.model_dump(include=set(CompositingConfig.model_fields))
    compositing = {**fields["compositing"], "seed": night_seed(0, NIGHT)}
    by_hand = CompositingConfig.model_validate({**fields, "compositing": compositing})
    objectclear_compositing(by_hand)  # Prefect remembers the work as done, the store says otherwise
    assert tar.read_bytes() == before
    assert verify_dataset(workspace).clean
