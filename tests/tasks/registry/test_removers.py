"""Removers by name, the shipped base among them."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from data_specs.errors import InputError, ModelError
from data_specs.model_record import ModelKind
from models.baselines.patch_match import PatchMatchFill
from models.baselines.telea import TeleaFill
from models.images.any_size import AnySizeRemover
from models.objectclear.attended_fill import AttendedFill
from models.objectclear.network import build_tiny_image_encoder, build_tiny_object_clear
from models.objectclear.pipeline import ObjectClearPipeline
from models.objectclear.remover import ObjectClearRemover
from models.profiles import PROFILES
from models.protocols import AttentiveRemover
from models.rorem.lcm_lora import lcm_schedule
from models.rorem.remover import InpaintingRemover, SamplingConfig
from tasks.registry.removers import OBJECT_CLEAR_FOLDER, open_champion, open_recorded, open_remover
from tasks.registry.store import BASE_FOLDER, CARD_FILE, network_at, record
from tasks.storage.workspace import Workspace
from tests.published.checkpoints import sdxl_inpainting


def test_names_open_what_they_say() -> None:
    assert isinstance(open_remover("telea", None).remover, TeleaFill)
    filling = open_remover("patch-match", 2).remover
    assert isinstance(filling, AttendedFill)
    assert isinstance(filling.fill, PatchMatchFill)
    assert filling.attentive.model_hash == open_remover("object-clear", 2).remover.model_hash
    opened = open_remover("rorem", 2)
    assert isinstance(opened.remover, AnySizeRemover)
    assert opened.remover.short_side_px == 64
    inner = opened.remover.remover
    assert isinstance(inner, InpaintingRemover)
    assert inner.config.steps == 2
    again = open_remover(str(BASE_FOLDER), 2)
    assert again.remover.model_hash == opened.remover.model_hash
    assert str(BASE_FOLDER) in again.title
    assert open_remover("rorem", 4).remover.model_hash != opened.remover.model_hash


def test_the_base_removes_from_an_image_of_another_size() -> None:
    """An even grey ground: whatever the network paints must be near it, and the rest as it was."""
    source = np.full((90, 150, 3), 128, np.uint8)
    mask = np.zeros((90, 150), bool)
    mask[40:60, 70:100] = True
    source[mask] = (250, 20, 20)
    removal = open_remover("rorem", None).remover.remove([source], [mask], [0])[0]
    assert np.abs(removal[mask].astype(int) - 128).mean() < 30
    np.testing.assert_array_equal(removal[:20], source[:20])
    np.testing.assert_array_equal(removal[:, :40], source[:, :40])


@pytest.mark.parametrize(
    ("name", "steps", "fault"),
    [
        ("telea", 4, "leave out --steps"),
        ("lama", None, "is unknown; name patch-match, object-clear, rorem"),
        ("/no/such/folder", None, "is unknown"),
    ],
)
def test_unknown_names_and_steps_of_telea_are_refused(name: str, steps: int | None, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        open_remover(name, steps)


def test_an_object_clear_folder_is_known_by_its_object_token(tmp_path: Path) -> None:
    base = network_at(BASE_FOLDER)
    network = build_tiny_object_clear(base, build_tiny_image_encoder(1), 2)
    pipeline = ObjectClearPipeline.of_network(network, num_inference_steps=2, guidance_scale=1.0)
    pipeline.save_pretrained(tmp_path / "pipeline")
    opened = open_remover(str(tmp_path / "pipeline"), None)
    assert opened.title == f"ObjectClear in {tmp_path / 'pipeline'}"
    assert isinstance(opened.remover, AttentiveRemover)
    assert opened.remover.model_hash == ObjectClearRemover(pipeline).model_hash
    assert open_remover(str(tmp_path / "pipeline"), 3).remover.model_hash != opened.remover.model_hash
    (tmp_path / "pipeline" / "unet" / "config.json").unlink()
    with pytest.raises(ModelError, match="cannot be used as an ObjectClear network"):
        open_remover(str(tmp_path / "pipeline"), None)


def test_without_a_name_the_best_that_ships() -> None:
    title = open_remover(None, None).title
    assert title == open_remover("patch-match" if OBJECT_CLEAR_FOLDER.is_dir() else "rorem", None).title


class Bomb:
    """Would leave a file if anybody unpickled it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("place", ["model.ckpt", "unet/diffusion_pytorch_model.bin", "weights.pt"])
def test_pickled_weights_are_refused_unread(tmp_path: Path, place: str) -> None:
    file = tmp_path / "model" / place
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    for offered in {tmp_path / "model", file}:
        with pytest.raises(ModelError, match="convert them to safetensors"):
            open_remover(str(offered), None)
    assert not (tmp_path / "mark").exists()


def test_a_file_and_an_empty_folder_are_no_network(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(ModelError, match="name the folder"):
        open_remover(str(tmp_path / "a.safetensors"), None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot be used as an inpainting network"):
        open_remover(str(tmp_path / "empty"), None)


def test_a_workspaces_champion(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no workspace here"):
        open_champion(tmp_path / "none", None)
    workspace = Workspace.open(tmp_path / "workspace")
    with pytest.raises(InputError, match="no remover yet"):
        open_champion(workspace.root, None)
    folder = workspace.models_dir / "abc"
    network_at(BASE_FOLDER).save(folder)
    record(
        workspace,
        kind="remover",
        model_hash="abc",
        folder=folder,
        parent=None,
        dataset_version=None,
        metrics={},
    )
    workspace.ledger().models.promote("remover", "abc", "the only one")
    opened = open_champion(workspace.root, None)
    assert "champion abc" in opened.title
    assert opened.remover.model_hash == open_remover("rorem", None).remover.model_hash


def test_a_workspaces_model_by_its_hash_is_sampled_as_it_was_entered(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    base = network_at(BASE_FOLDER)

    def enter(hash: str, kind: ModelKind) -> Path:
        folder = workspace.models_dir / hash
        base.save(folder)
        settings = {"sampling": {"steps": 2, "strength": 1.0, "batch_size": 8}}
        facts = {"parent": None, "dataset_version": None, "metrics": {}, "settings": settings}
        record(workspace, kind=kind, model_hash=hash, folder=folder, **facts)
        return folder

    folder = enter("abc1", "remover")
    enter("def2", "discriminator")
    opened = open_recorded(workspace.root, "abc", None)
    assert "remover abc1" in opened.title
    assert opened.remover.model_hash == open_remover("rorem", 2).remover.model_hash
    asked = open_recorded(workspace.root, "abc1", 3)
    assert asked.remover.model_hash == open_remover("rorem", 3).remover.model_hash
    with pytest.raises(ModelError, match="def2 is a discriminator; name a remover"):
        open_recorded(workspace.root, "def2", None)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model abc1 lacks unet/diffusion_pytorch_model\.safetensors"):
        open_recorded(workspace.root, "abc1", None)


def sampling_of(folder: Path, steps: int | None = None) -> SamplingConfig:
    opened = open_remover(str(folder), steps)
    assert isinstance(opened.remover, AnySizeRemover)
    assert isinstance(opened.remover.remover, InpaintingRemover)
    return opened.remover.remover.config


def test_a_folder_samples_as_its_size_or_its_record_says(tmp_path: Path) -> None:
    full, tiny = PROFILES["full"], PROFILES["tiny"]
    published = sdxl_inpainting(tmp_path / "sdxl")
    assert sampling_of(published) == full.sampling
    assert sampling_of(published, 8) == full.sampling.model_copy(update={"steps": 8})
    network = network_at(published)
    network.save(tmp_path / "trained")
    assert sampling_of(tmp_path / "trained") == full.sampling
    network.scheduler = lcm_schedule(network)
    network.save(tmp_path / "distilled")
    assert sampling_of(tmp_path / "distilled") == full.distilled_sampling
    assert sampling_of(BASE_FOLDER) == tiny.sampling
    card = {"settings": {"sampling": {"steps": 7, "strength": 0.9, "precision": "bfloat16"}}}
    (tmp_path / "trained" / CARD_FILE).write_text(json.dumps(card))
    assert sampling_of(tmp_path / "trained") == SamplingConfig(steps=7, strength=0.9, precision="bfloat16")
    (tmp_path / "trained" / CARD_FILE).write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        open_remover(str(tmp_path / "trained"), None)


def test_a_precision_is_asked_for_and_telea_has_none() -> None:
    for name in ("rorem", "object-clear"):
        hashes = {open_remover(name, 2, precision).remover.model_hash for precision in (None, "float32")}
        hashes.add(open_remover(name, 2, "bfloat16").remover.model_hash)
        assert len(hashes) == 2
    with pytest.raises(InputError, match="leave out --steps and --precision"):
        open_remover("telea", None, "float16")


def test_object_clear_removes_in_half_precision() -> None:
    source = np.full((64, 64, 3), 120, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    source[mask] = (200, 30, 30)
    whole, half = (
        open_remover("object-clear", 4, precision).remover.remove([source], [mask], [0])[0].astype(int)
        for precision in ("float32", "bfloat16")
    )
    assert np.abs(whole - half).max() > 0
    assert np.abs(whole - half).mean() < 3
