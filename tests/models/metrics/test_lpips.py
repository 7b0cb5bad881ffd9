"""LPIPS against torchmetrics' own network, given the same AlexNet that torchvision would give it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchmetrics.functional.image import lpips as torchmetrics_lpips

from data_specs.errors import ModelError
from data_specs.metric import RemovedImage
from models.metrics.lpips import FILE_NAME, AlexLpips, Lpips


def test_it_is_torchmetrics_number(
    images: list[RemovedImage], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = AlexLpips()
    network.load_state_dict(load_file(weights / "lpips" / FILE_NAME))
    monkeypatch.setattr(torchmetrics_lpips, "_get_tv_model_features", lambda *_, **__: network.features)
    reference = torchmetrics_lpips._NoTrainLpips(net="alex")
    levels = [
        torch.stack([torch.from_numpy(getattr(p, name)).permute(2, 0, 1) / 255 for p in images])
        for name in ("removal", "ground_truth")
    ]
    expected = reference(*levels, normalize=True).flatten().tolist()
    found = Lpips(weights / "lpips").measure(images)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert found[0] == 0
    assert 0 < found[1] < found[2] < found[3]


def test_a_weight_that_is_missing_is_named(weights: Path, tmp_path: Path) -> None:
    kept = load_file(weights / "lpips" / FILE_NAME)
    del kept["lin3.model.1.weight"]
    save_file(kept, tmp_path / FILE_NAME)
    with pytest.raises(ModelError, match="lin3.model.1.weight"):
        Lpips(tmp_path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    torch.save(AlexLpips().state_dict(), tmp_path / FILE_NAME)
    with pytest.raises(ModelError, match="cannot be read"):
        Lpips(tmp_path)
