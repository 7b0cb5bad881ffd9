"""Making the shipped models: whole folders in the place of older ones, and nothing trained twice."""

from pathlib import Path

import pytest

from flows import shipped_models
from flows.shipped_models import CARD, BaseConfig, PerceptionConfig, make_base, make_perception
from models.diffusion.inpainting import load_network
from models.training.loop import Progress, TrainingConfig
from tasks.training.perception.trainers import Trainer

SHORT = TrainingConfig(steps=2, batch_size=2, warmup_steps=1, checkpoint_every=1)


class KilledError(Exception):
    """Stands for a kill."""


def test_a_base_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "base"
    out.mkdir()
    (out / "older.txt").touch()
    make_base.fn(BaseConfig(out=out, synthetic_images=4, clip_repeats=0, training=SHORT))
    assert not (out / "older.txt").exists()
    assert load_network(out).unet.config["in_channels"] > 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "base.work"]


def test_a_killed_making_does_not_train_a_finished_model_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def trainer(name: str) -> Trainer:
        def train(
            config: TrainingConfig, folder: Path, checkpoint: Path | None, progress: Progress | None
        ) -> None:
            trained.append(name)
            if trained == ["one", "two"]:
                raise KilledError
            (folder / "model.safetensors").write_text(name)

        return Trainer(name, "nothing", SHORT, train, lambda _folder, scenes: {"scenes": float(scenes)})

    monkeypatch.setattr(shipped_models, "TRAINERS", (trainer("one"), trainer("two")))
    config = PerceptionConfig(out=tmp_path / "perception", only=("one", "two"), scenes=3)
    with pytest.raises(KilledError):
        make_perception.fn(config)
    cards = make_perception.fn(config)
    assert trained == ["one", "two", "two"]
    assert [(card.model, card.measured) for card in cards] == [("one", {"scenes": 3}), ("two", {"scenes": 3})]
    for name in ("one", "two"):
        folder = config.out / name
        assert sorted(path.name for path in folder.iterdir()) == [CARD, "model.safetensors"]
        assert (folder / "model.safetensors").read_text() == name
