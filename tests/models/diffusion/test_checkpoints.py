"""Published checkpoints: here whole, here in part, cut short, or nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flows.maintenance.doctor import check_published
from models.diffusion.checkpoints import CHECKPOINTS, find_checkpoint, needed_files, published_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


DINO = next(checkpoint for checkpoint in CHECKPOINTS if checkpoint.name == "grounding-dino-tiny")


def laid_out(folder: Path) -> Path:
    """A checkpoint's files, of no consequence inside."""
    place = folder / DINO.name
    place.mkdir(parents=True)
    for name in DINO.files:
        (place / name).write_text("{}")
    save_file({"a": torch.zeros(100)}, place / "model.safetensors")
    return place


def test_whole_in_part_and_cut_short(tmp_path: Path) -> None:
    checkpoint = DINO
    assert find_checkpoint(checkpoint, tmp_path).folder is None
    place = laid_out(tmp_path)
    assert find_checkpoint(checkpoint, tmp_path).usable
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[:-10])
    assert find_checkpoint(checkpoint, tmp_path).damaged == ("model.safetensors",)
    (place / "config.json").unlink()
    assert find_checkpoint(checkpoint, tmp_path).absent == ("config.json",)


def test_each_of_the_profile_is_asked_for_and_the_mend_fetches_it(tmp_path: Path) -> None:
    laid_out(tmp_path)
    checks = {check.name: check for check in check_published(tmp_path)}
    assert {"sdxl-inpainting", "clip-vit-large-patch14", "mask2former", "depth-anything", "sam-vit-h"} < set(
        checks
    )
    assert checks.pop(DINO.name).state == "ok"
    assert checks["yolo11x"].state == "note"
    for name, check in checks.items():
        (listed,) = (checkpoint for checkpoint in CHECKPOINTS if checkpoint.name == name)
        assert listed.licence in check.found
        if listed.revision:
            assert len(bytes.fromhex(listed.revision)) == 20
            assert f"hf download {listed.repository} --revision {listed.revision}" in check.fix
        elif listed.repository:
            assert check.fix.startswith(f"hf download {listed.repository} --local-dir {tmp_path / name}")
        else:
            file = tmp_path / listed.url.rpartition("/")[2]
            assert check.fix == (
                f"curl -L --create-dirs -o {file} {listed.url} && "
                f"cleanplate model convert {listed.kind} {file} {tmp_path / name}"
            )


NAME = "somebody/sdxl"
LISTED = [
    "README.md", "model_index.json", "sd_xl.safetensors", "unet/config.json", "unet/model.bin",
    "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors", "tokenizer/merges.txt",
]  # fmt: skip


def test_of_a_repository_only_what_is_read_is_fetched() -> None:
    assert needed_files(LISTED) == [
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors", "tokenizer/merges.txt",
    ]  # fmt: skip
    plain = ["config.json", "model.safetensors", "pytorch_model.bin"]
    assert needed_files(plain) == plain[:2]


def test_a_folder_wins_over_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir(parents=True)
    assert published_folder(NAME) == Path(NAME)
    assert published_folder("/no/such/folder") == Path("/no/such/folder")
    assert published_folder("lama") == Path("lama")


HUB = """
import sys
from data_specs.errors import InputError
from models.diffusion.checkpoints import published_folder
try:
    print(published_folder(sys.argv[1]))
except InputError as error:
    print("refused", error)
"""


def asked(name: str, tmp_path: Path, endpoint: str) -> str:
    """What another process, which sees this hub and an own cache, answers."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", HUB, name], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_without_a_hub_the_cache_or_a_sentence(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    said = asked(NAME, tmp_path, nowhere)
    assert said.startswith(f"refused {NAME}: is no folder here, and the hub does not give it (")
    assert said.endswith(f"run `hf download {NAME} --local-dir FOLDER`, and name that folder")
    cache = tmp_path / "home" / "hub" / "models--somebody--sdxl"
    (cache / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("a" * 40)
    assert asked(NAME, tmp_path, nowhere) == str(cache / "snapshots" / ("a" * 40))


@pytest.mark.parametrize("name", ["weights/sdxl-inpainting", "here/absent"])
def test_a_missing_folder_is_never_fetched_from_a_stranger(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the hub somebody may be called ``weights``, or as a folder here is."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert published_folder(name) == Path(name)
