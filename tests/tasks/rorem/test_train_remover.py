"""Retraining the remover: its groups, done once, and resumed after a kill to the bit."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data_specs.errors import FlowError, ModelError
from data_specs.version import VersionSample
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.registry.store import network_at
from tasks.rorem.train_remover import RemoverTraining, TrainedRemover, train_remover
from tasks.storage.dataset.versions import samples_bytes
from tasks.training.version_data import training_rows

CONFIG = TrainingConfig(steps=6, batch_size=4, warmup_steps=1, checkpoint_every=2)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def work_on(studio, **changes) -> RemoverTraining:
    facts = {
        "name": "initialisation",
        "parent": studio.remover,
        "version": studio.version.number,
        "version_sha256": studio.version.sha256,
        "training": CONFIG,
        "loss": RemoverLossConfig(),
        "sampling": SamplingConfig(steps=2),
    }
    return RemoverTraining.model_validate({**facts, **changes})


def sample(key: str, stage, split) -> VersionSample:
    return VersionSample(key=key, shard="s", stage=stage, scene="s", split=split, round=0)


def groups_of(samples: list[VersionSample]) -> tuple[list[str], list[range]]:
    """Training keys, and their groups, of a version with these samples."""
    rows = training_rows(pq.read_table(pa.BufferReader(samples_bytes(samples))))
    assert [rows.shards[place] for place in rows.shard_of] == ["s"] * len(rows.keys)
    return [key.decode() for key in rows.keys], rows.groups


def test_groups_are_initial_and_grown_and_composites_of_the_training_split_alone() -> None:
    samples = [
        sample("a", "triplets", "train"),
        sample("b", "grown", "train"),
        sample("c", "triplets", "test"),
        sample("d", "triplets", "train"),
        sample("e", "grown", "validation"),
    ]
    assert groups_of(samples) == (["a", "d", "b"], [range(2), range(2, 3)])
    assert groups_of([sample("b", "grown", "train")]) == (["b"], [range(1)])
    composites = [sample("f", "composites", "train"), sample("g", "composites", "test")]
    assert groups_of([*composites, *samples]) == (
        ["a", "d", "b", "f"],
        [range(2), range(2, 3), range(3, 4)],
    )
    with pytest.raises(FlowError, match="no training sample"):
        groups_of([sample("c", "triplets", "test")])


def test_trained_once(studio) -> None:
    space, told = studio.workspace, []
    before = network_at(space.root / studio.remover.folder).unet.state_dict()
    trained = train_remover(space, work_on(studio), lambda *now: told.append(now[0]))
    assert told == [1, 2, 3, 4, 5, 6]
    assert trained.remover.hash != studio.remover.hash
    after = network_at(space.root / trained.remover.folder).unet.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before)
    entry = space.ledger().models.of_hash(trained.remover.hash)
    assert (entry.parent, entry.dataset_version) == (studio.remover.hash, studio.version.number)
    assert space.ledger().models.champion("remover").hash == studio.remover.hash, "recorded, not promoted"
    assert list(space.models_dir.glob("*checkpoint*")) == []
    again = train_remover(space, work_on(studio, name="another name"), lambda *now: told.append(now[0]))
    assert again == trained
    assert len(told) == 6, "nothing was trained again"


def test_other_settings_are_other_work(studio) -> None:
    digests = {
        work_on(studio).digest,
        work_on(studio, training=CONFIG.model_copy(update={"seed": 1})).digest,
        work_on(studio, loss=RemoverLossConfig(change_weight=2)).digest,
        work_on(studio, version_sha256="other").digest,
        work_on(studio, sampling=SamplingConfig(steps=3)).digest,
        work_on(studio, parent=studio.remover.model_copy(update={"hash": "other"})).digest,
    }
    assert len(digests) == 6
    moved = studio.remover.model_copy(update={"folder": "elsewhere"})
    assert work_on(studio, name="other", parent=moved).digest == work_on(studio).digest


@pytest.mark.parametrize("kill_at", [1, 3, 6])
def test_killed_and_started_again_it_ends_with_the_same_weights(studio, kill_at: int) -> None:
    """The hash is of every weight, so equal hashes are equal bits."""

    def kill(step: int, _total: int, _loss: float) -> None:
        if step == kill_at:
            raise Killed

    space, told = studio.workspace, []
    with pytest.raises(Killed):
        train_remover(space, work_on(studio), kill)
    assert space.ledger().results.get("remover_training", work_on(studio).digest, TrainedRemover) is None
    resumed = train_remover(space, work_on(studio), lambda *now: told.append(now[0]))
    assert told == list(range(kill_at // 2 * 2 + 1, 7)), "it went on from the last checkpoint"
    elsewhere = work_on(studio, training=CONFIG.model_copy(update={"checkpoint_every": 100}))
    unbroken = train_remover(space, elsewhere)
    assert resumed.losses == unbroken.losses
    assert resumed.remover.hash == unbroken.remover.hash


def test_lost_weights_are_trained_again(studio) -> None:
    space = studio.workspace
    first = train_remover(space, work_on(studio))
    for path in sorted((space.root / first.remover.folder).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (space.root / first.remover.folder).rmdir()
    assert train_remover(space, work_on(studio)).remover == first.remover


def test_a_parent_that_is_gone_is_named(studio) -> None:
    lost = studio.remover.model_copy(update={"folder": "models/nowhere"})
    with pytest.raises(ModelError, match="models/nowhere: holds no model"):
        train_remover(studio.workspace, work_on(studio, parent=lost))
