"""Each perception training, killed between two checkpoints, ends with the bytes of an unbroken one."""

from itertools import islice
from pathlib import Path

import pytest

from models.training.loop import Progress, TrainingConfig
from tasks.training.perception import depth_anything, grounding_dino, mask2former, sam, yolo
from tasks.training.perception.samples import SeenImage, clip_images
from tasks.training.perception.trainers import TRAINERS, Trainer

SMALL = TrainingConfig(steps=4, batch_size=4, learning_rate=1e-3, warmup_steps=1, checkpoint_every=2)


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def people() -> list[SeenImage]:
    """A few of the clip's, read once: reading them is most of these trainings' start."""
    return list(islice(clip_images("train"), 4))


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch, people: list[SeenImage]) -> None:
    for module in (sam, yolo, grounding_dino):
        monkeypatch.setattr(module, "_SYNTHETIC_IMAGES", 6)
        monkeypatch.setattr(module, "clip_images", lambda _part: people)
    for module in (mask2former, depth_anything):
        monkeypatch.setattr(module, "_IMAGES", 6)
    monkeypatch.setattr(yolo, "_SETTLING_BATCHES", 2)


def trained(trainer: Trainer, folder: Path, checkpoint: Path, progress: Progress) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    trainer.train(SMALL, folder, checkpoint, progress)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.name)
def test_killed_and_started_again_it_ends_as_unbroken(trainer: Trainer, tmp_path: Path) -> None:
    losses: dict[int, float] = {}

    def noted(step: int, _steps: int, loss: float) -> None:
        losses[step] = loss

    unbroken = trained(trainer, tmp_path / "unbroken", tmp_path / "unbroken.checkpoint", noted)
    assert list(losses) == [1, 2, 3, 4]

    def killed(step: int, _steps: int, _loss: float) -> None:
        if step == 3:
            raise KilledError

    checkpoint = tmp_path / "broken.checkpoint"
    with pytest.raises(KilledError):
        trained(trainer, tmp_path / "broken", checkpoint, killed)
    assert not list((tmp_path / "broken").iterdir()), "no weights before the end"
    again: dict[int, float] = {}
    resumed = trained(
        trainer, tmp_path / "broken", checkpoint, lambda step, _steps, loss: again.update({step: loss})
    )
    assert again == {3: losses[3], 4: losses[4]}, "it went on from step 2"
    assert resumed == unbroken
