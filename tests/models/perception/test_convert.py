"""Published pickles become safetensors once: the same tensors; what would run code is refused."""

from pathlib import Path

import pytest
import torch

from data_specs.errors import InputError
from models.perception.convert import convert
from models.perception.sam import SIZES, SamConfig, SamSegmenter, build_sam
from models.perception.yolo import YoloConfig, YoloDetector, build_yolo, yolo_is_installed

needs_yolo = pytest.mark.skipif(not yolo_is_installed(), reason="the extra `yolo` is not installed")


def test_a_sam_pickle_is_read_as_weights(tmp_path: Path) -> None:
    torch.save(build_sam(SIZES["tiny"]).state_dict(), tmp_path / "sam.pth")
    convert("sam", tmp_path / "sam.pth", tmp_path / "out")
    assert len(SamSegmenter(SamConfig(weights=tmp_path / "out")).model_hash) == 20


@needs_yolo
def test_a_yolo_pickle_keeps_its_class_names(tmp_path: Path) -> None:
    network = build_yolo("tiny", 2)
    network.names = {0: "cat", 1: "dog"}
    del network.args  # as published files have it: a plain dict or nothing
    torch.save({"model": network, "ema": None}, tmp_path / "yolo.pt")
    convert("yolo", tmp_path / "yolo.pt", tmp_path / "out")
    detector = YoloDetector(YoloConfig(weights=tmp_path / "out"))
    assert detector.class_names == ("cat", "dog")


class Harm:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("kind", ["sam", pytest.param("yolo", marks=needs_yolo)])
def test_a_pickle_that_runs_code_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Harm()}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="cannot be read as weights only"):
        convert(kind, tmp_path / "bad.pt", tmp_path / "out")
    assert not (tmp_path / "harm").exists()
