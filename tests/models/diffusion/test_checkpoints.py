"""Published checkpoints: here whole, here in part, cut short, or nowhere."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flows.maintenance.doctor import check_published
from models.diffusion.checkpoints import CHECKPOINTS, find_checkpoint


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def laid_out(folder: Path) -> Path:
    """The last checkpoint's files, of no consequence inside."""
    place = folder / CHECKPOINTS[-1].name
    place.mkdir(parents=True)
    for name in CHECKPOINTS[-1].files:
        (place / name).write_text("{}")
    save_file({"a": torch.zeros(100)}, place / "model.safetensors")
    return place


def test_whole_in_part_and_cut_short(tmp_path: Path) -> None:
    checkpoint = CHECKPOINTS[-1]
    assert find_checkpoint(checkpoint, tmp_path).folder is None
    place = laid_out(tmp_path)
    assert find_checkpoint(checkpoint, tmp_path).usable
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[:-10])
    assert find_checkpoint(checkpoint, tmp_path).damaged == ("model.safetensors",)
    (place / "config.json").unlink()
    assert find_checkpoint(checkpoint, tmp_path).absent == ("config.json",)


def test_each_is_pinned_and_the_mend_fetches_that_revision(tmp_path: Path) -> None:
    laid_out(tmp_path)
    checks = check_published(tmp_path)
    assert [check.state for check in checks] == ["missing"] * (len(CHECKPOINTS) - 1) + ["ok"]
    for check, each in zip(checks[:-1], CHECKPOINTS[:-1], strict=True):
        assert len(bytes.fromhex(each.revision)) == 20
        assert f"hf download {each.repository} --revision {each.revision}" in check.fix
        assert each.licence in check.found
