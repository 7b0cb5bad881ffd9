import shutil
from pathlib import Path

import pytest

from data_specs.errors import InputError, ModelError
from data_specs.metric import RemovedImage
from models.metrics.registry import MetricConfig, all_specs, available_metrics

FREE = ["psnr", "psnr_fg", "psnr_bg", "ssim"]


def test_without_weights_the_others_are_left_out_and_said_to_be() -> None:
    metrics, left_out = available_metrics(MetricConfig())
    assert [metric.spec.name for metric in metrics] == FREE
    assert [each.title for each in left_out] == ["LPIPS", "CLIP", "DINO", "ReMOVE", "ReMOVE+"]
    assert "--metric-weights" in left_out[0].fix
    assert "lpips_alex.safetensors" in left_out[0].fix


def test_with_every_folder_nothing_is_left_out(weights: Path, images: list[RemovedImage]) -> None:
    metrics, left_out = available_metrics(MetricConfig(weights=weights))
    assert left_out == []
    assert [metric.spec.name for metric in metrics] == list(all_specs())
    fingerprints = [metric.fingerprint for metric in metrics]
    assert len(set(fingerprints)) == 8, "ReMOVE and ReMOVE+ share their weights"
    for metric in metrics:
        found = metric.measure(images[:2])
        assert len(found) == 2
        assert all(isinstance(value, float) for value in found)


def test_a_missing_folder_leaves_its_metrics_out_and_a_broken_one_is_an_error(
    weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(weights / "sam", tmp_path / "sam")
    metrics, left_out = available_metrics(MetricConfig(weights=tmp_path))
    assert [metric.spec.name for metric in metrics] == [*FREE, "remove", "remove_plus"]
    assert [each.title for each in left_out] == ["LPIPS", "CLIP", "DINO"]
    assert str(tmp_path / "dino") in left_out[2].reason
    (tmp_path / "dino").mkdir()
    with pytest.raises(ModelError, match="dino"):
        available_metrics(MetricConfig(weights=tmp_path))


def test_a_mistyped_folder_is_an_error_not_a_shorter_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this folder of metrics' weights does not exist"):
        available_metrics(MetricConfig(weights=tmp_path / "wieghts"))


def test_headings_state_unit_factor_and_the_better_way() -> None:
    headings = {name: spec.heading for name, spec in all_specs().items()}
    assert headings["psnr_bg"] == "PSNR-BG dB ↑"
    assert headings["lpips"] == "LPIPS ×100 ↓"
    assert headings["remove_plus"] == "ReMOVE+ ↑"
