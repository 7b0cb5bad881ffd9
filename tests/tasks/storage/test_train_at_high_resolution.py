"""RORem's last stage: photographs of two sizes beside the pairs there are, in a version of its own."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_specs.errors import ShardError
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.rorem.train_remover import RemoverTraining, remover_batches, train_remover
from tasks.sources.ingest import IngestWork, ingest_files
from tasks.sources.readers import HighResolutionSource
from tasks.sources.source_files import files_digest
from tasks.storage.dataset import create_version, selection_of
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.training.data import size_buckets
from tasks.training.version_data import version_reader

CONFIG = TrainingConfig(steps=6, batch_size=4, warmup_steps=1, checkpoint_every=2)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


@pytest.fixture
def staged(studio, tmp_path: Path):
    """The studio's 12 pairs of 32 px, and photographs: 8 that fill 64 px, 4 that fill 48."""
    root = tmp_path / "div2k"
    rng = np.random.default_rng(0)

    def write(name: str, pixels: np.ndarray) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name), pixels)

    for number in range(12):
        height, width = (70, 90) if number < 8 else (120, 50)
        write(f"images/p{number}.png", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    mask = np.zeros((80, 80), np.uint8)
    mask[10:70, 10:70] = 255
    write("objects/source/o.png", rng.integers(0, 256, (80, 80, 3), dtype=np.uint8))
    write("objects/mask/o.png", mask)
    source = HighResolutionSource(path=root, sizes_px=(48, 64), validation_fraction=0, test_fraction=0)
    work = IngestWork(round=0, index=0, source=source, files_digest=files_digest(source), shard_samples=100)
    intake = ingest_files(studio.workspace, work)
    assert intake.shard is not None
    assert (intake.shard.samples, intake.rejects) == (12, {})
    assert ingest_files(studio.workspace, work) == intake
    before = selection_of(studio.workspace, studio.version.number)
    studio.stage = create_version(
        studio.workspace, [*before, (intake.shard, None)], studio.version.number, "final stage"
    )
    return studio


def work_on(studio, **changes) -> RemoverTraining:
    facts = {
        "name": "final stage",
        "parent": studio.remover,
        "version": studio.stage.number,
        "version_sha256": studio.stage.sha256,
        "training": CONFIG,
        "loss": RemoverLossConfig(),
        "sampling": SamplingConfig(steps=2),
    }
    return RemoverTraining.model_validate({**facts, **changes})


def test_samples_are_told_apart_by_size_without_being_decoded(staged, monkeypatch) -> None:
    with version_reader(staged.workspace, staged.stage.number) as data:
        positions = data.reader.positions_of(data.rows.keys)
        sizes = [decode_triplet(data.reader[position]).mask.shape for position in positions]
        monkeypatch.setattr(ShardReader, "_members_at", None)
        buckets = size_buckets(data.reader, positions)
        assert [len(bucket) for bucket in buckets] == [12, 4, 8]
        assert [{sizes[place] for place in bucket} for bucket in buckets] == [{(n, n)} for n in (32, 48, 64)]


def test_samples_of_older_shards_are_told_apart_by_their_masks(staged) -> None:
    with version_reader(staged.workspace, staged.stage.number) as data:
        positions = data.reader.positions_of(data.rows.keys)
        new = [bucket.tolist() for bucket in size_buckets(data.reader, positions)]
        data.reader._index.size[:] = 0
        assert [bucket.tolist() for bucket in size_buckets(data.reader, positions)] == new


def test_batches_are_of_one_size_and_every_sample_comes_once_an_epoch(staged) -> None:
    """24 samples in batches of 4; read through the very reader that training uses."""
    read: list[str] = []

    class Log(ShardReader):
        def __getitem__(self, position: int):
            sample = super().__getitem__(position)
            read.append(sample.key)
            return sample

    with version_reader(staged.workspace, staged.stage.number) as data:
        data.reader.__class__ = Log
        batches_from = remover_batches(staged.workspace, data, CONFIG, DistributedConfig(), None)
        sizes = [batch.source.shape[-1] for batch in batches_from(0, 12, (slice(None),))]
        assert Counter(sizes[:6]) == Counter(sizes[6:]) == {32: 3, 48: 1, 64: 2}
        for epoch in (read[:24], read[24:]):
            assert sorted(epoch) == sorted(key.decode() for key in data.rows.keys)
        unbroken = list(read)
        read.clear()
        rest = [batch.mask.shape for batch in batches_from(7, 12, (slice(None),))]
        assert read == unbroken[28:]
        assert [shape[-1] for shape in rest] == sizes[7:]


def test_killed_in_mid_epoch_it_ends_as_unbroken_with_its_own_version_in_the_ledger(staged) -> None:
    def kill(step: int, _total: int, _loss: float) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        train_remover(staged.workspace, work_on(staged), kill)
    told: list[int] = []
    resumed = train_remover(staged.workspace, work_on(staged), lambda *now: told.append(now[0]))
    assert told == [5, 6]
    whole = CONFIG.model_copy(update={"checkpoint_every": 100})
    unbroken = train_remover(staged.workspace, work_on(staged, training=whole))
    assert resumed.losses == unbroken.losses
    assert resumed.remover.hash == unbroken.remover.hash
    entry = staged.workspace.ledger().models.of_hash(resumed.remover.hash)
    assert (entry.dataset_version, entry.parent) == (staged.stage.number, staged.remover.hash)
    assert staged.stage.by_split["train"] == 24


def test_a_mask_that_is_no_png_is_named(staged, monkeypatch) -> None:
    with version_reader(staged.workspace, staged.stage.number) as data:
        key = data.rows.keys[0].decode()
        with pytest.raises(ShardError, match=f"sample {key} has no matte.png"):
            data.reader.member_by_key(key, "matte.png")
        data.reader._index.size[:] = 0
        monkeypatch.setattr(data.reader, "member_at", lambda *_: b"GIF89a")
        with pytest.raises(ShardError, match=f"the mask of sample {key} is not a PNG"):
            size_buckets(data.reader, data.reader.positions_of([key]))
