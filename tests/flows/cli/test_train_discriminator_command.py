"""`cleanplate train discriminator`: on a workspace's reviews, by one process or by two; who is held out."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.review import Review
from flows.rorem.discriminator import DiscriminatorTrainingConfig, held_out, train_on_reviews
from models.training.loop import TrainingConfig
from tasks.rorem.propose import ProposeWork, propose
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace, items_of

ROOT = Path(__file__).resolve().parents[3]
TRAINING = TrainingConfig(steps=4, batch_size=4, warmup_steps=1, checkpoint_every=2)


def review_all(studio: SimpleNamespace) -> None:
    """72 reviewed candidates of 24 items; every other is good."""
    space = studio.workspace
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool,),
        items=tuple(items_of(space, [studio.pool])),
        variants=("tight", "dilated", "left"),
        remover=studio.remover,
    )
    with ShardReader(space, [propose(space, work)]) as reader:
        reviews = [
            Review(
                event=derive_key("review", key),
                candidate=key,
                decision="yes" if place % 2 else "no",
                reviewer="anna",
                kind="person",
                answered_at=datetime.now(UTC),
            )
            for place, key in enumerate(reader.keys)
        ]
    space.ledger().reviews.record(reviews)


def test_who_is_held_out_follows_from_the_item_alone() -> None:
    items = [f"item{number}" for number in range(1000)]
    found = held_out(items, 0.2, seed=0)
    assert 150 < len(found) < 250
    assert held_out(items[500:], 0.2, seed=0) == tuple(item for item in found if item in items[500:])
    assert held_out(items, 0.2, seed=1) != found


def test_nothing_reviewed_is_said(tmp_path: Path) -> None:
    space = Workspace.open(tmp_path / "empty")
    with pytest.raises(FlowError, match="has no reviews; run `cleanplate round 1`, or let people review"):
        train_on_reviews.fn(DiscriminatorTrainingConfig(workspace=space.root))


@pytest.mark.slow
def test_two_processes_end_as_one(studio: SimpleNamespace, tmp_path: Path) -> None:
    review_all(studio)
    shutil.copytree(studio.workspace.root, tmp_path / "alone")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"training": TRAINING.model_dump()}))
    command = [
        *(sys.executable, "-m", "flows.cli.main", "train", "discriminator", "--config", str(settings)),
        *("--workspace", str(studio.workspace.root), "--processes", "2", "--json"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stderr[-3000:]
    told = json.loads(run.stdout)
    assert told["reviewed"] == 72
    entry = studio.workspace.ledger().models.of_hash(told["discriminator"]["hash"])
    assert entry.kind == "discriminator"
    assert (studio.workspace.root / entry.path / "judge.safetensors").is_file()
    alone = train_on_reviews.fn(DiscriminatorTrainingConfig(workspace=tmp_path / "alone", training=TRAINING))
    np.testing.assert_allclose(told["losses"]["means"], alone.losses.means, rtol=2e-5)
