"""The life of a training: known, killed, lost, or done by another process meanwhile."""

import shutil
from pathlib import Path

import pytest

from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.lcm_lora import LcmLoraConfig
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.registry.removers import RemoverRef
from tasks.rorem.distill import Distillation
from tasks.rorem.train_discriminator import DiscriminatorTraining
from tasks.rorem.train_remover import RemoverTraining
from tasks.storage.workspace import Workspace
from tasks.training.run import TrainedWeights, keep_weights, run_training


class KilledError(Exception):
    """Stands for a kill."""


class Letters:
    """A training that learns one letter a step, and writes the letters to its checkpoint."""

    def __init__(self, workspace: Workspace, kill_at: int | None = None) -> None:
        self.workspace = workspace
        self.kill_at = kill_at
        self.learnt: list[str] = []
        self.kept = 0

    def train(self, checkpoint: Path) -> str:
        known = checkpoint.read_text() if checkpoint.exists() else ""
        for step in range(len(known), 4):
            if step == self.kill_at:
                raise KilledError
            self.learnt.append("abcd"[step])
            known += "abcd"[step]
            checkpoint.write_text(known)
        return known

    def keep(self, network: str) -> TrainedWeights:
        self.kept += 1

        def save(folder: Path) -> None:
            (folder / "weights").write_text(network)

        return keep_weights(self.workspace, "letters", save)

    def run(self) -> TrainedWeights:
        return run_training(self.workspace, "letters", TrainedWeights, self.train, self.keep)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "space")


def weights(space: Workspace, trained: TrainedWeights) -> str:
    return (space.root / trained.weights_folder / "weights").read_text()


def checkpoints(space: Workspace) -> list[Path]:
    return list(space.models_dir.glob("*.checkpoint.safetensors"))


def test_a_finished_training_is_only_read(space: Workspace) -> None:
    first, second = Letters(space), Letters(space)
    trained = first.run()
    assert weights(space, trained) == "abcd"
    assert checkpoints(space) == []
    assert second.run() == trained
    assert (second.learnt, second.kept) == ([], 0)


def test_a_killed_training_continues_from_its_checkpoint(space: Workspace) -> None:
    killed, again = Letters(space, kill_at=3), Letters(space)
    with pytest.raises(KilledError):
        killed.run()
    assert len(checkpoints(space)) == 1
    assert weights(space, again.run()) == "abcd"
    assert (killed.learnt, again.learnt) == (["a", "b", "c"], ["d"])
    assert checkpoints(space) == []


def test_lost_weights_are_trained_again(space: Workspace) -> None:
    shutil.rmtree(space.root / Letters(space).run().weights_folder)
    again = Letters(space)
    assert weights(space, again.run()) == "abcd"
    assert again.kept == 1


def test_what_another_process_kept_meanwhile_is_not_kept_again(space: Workspace) -> None:
    mine, other = Letters(space), Letters(space)

    def train(checkpoint: Path) -> str:
        other.run()
        return mine.train(checkpoint)

    trained = run_training(space, "letters", TrainedWeights, train, mine.keep)
    assert (other.kept, mine.kept) == (1, 0)
    assert weights(space, trained) == "abcd"
    assert checkpoints(space) == []


def test_the_names_of_works_stay() -> None:
    """They name the weights of workspaces that exist. Other names would train everything again."""
    parent = RemoverRef(hash="abc", folder="models/x", sampling=SamplingConfig(steps=2))
    common = {
        "name": "any",
        "parent": parent,
        "version": 3,
        "version_sha256": "ff",
        "training": TrainingConfig(seed=4),
        "sampling": SamplingConfig(steps=3),
    }
    remover = RemoverTraining.model_validate({**common, "loss": RemoverLossConfig()})
    assert remover.digest == "d2361686be813967f5d3"
    distilled = {**common, "loss": LcmLossConfig(), "lora": LcmLoraConfig()}
    assert Distillation.model_validate(distilled).digest == "200bae460689c4469be2"
    discriminator = DiscriminatorTraining(
        name="any",
        backbone=parent,
        candidates=(),
        discriminator=DiscriminatorConfig(head_width=128),
        training=TrainingConfig(),
        held_out_items=("a", "b"),
    )
    assert discriminator.digest == "687263c42fdc5071afca"
