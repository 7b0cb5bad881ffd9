"""A dataset version of captured pairs, composites and OBER's samples, and both models trained on it."""

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel
from typer.testing import CliRunner

from data_specs.composite import CompositingResult
from data_specs.errors import FlowError, ModelError
from data_specs.reject import RejectReason
from data_specs.version import Selection
from flows.cli.main import app
from flows.ingest import IngestConfig, SyntheticSource, ingest
from flows.objectclear.compositing import objectclear_compositing
from flows.objectclear.train_on_version import ObjectClearRunConfig, train_object_clear_on_version
from flows.rorem.train_remover import RemoverTrainingConfig, train_on_version
from models.objectclear.network import load_object_clear
from models.objectclear.pipeline import ObjectClearPipeline
from models.training.loop import TrainingConfig
from models.training.losses import object_clear
from tasks.registry.removers import OBJECT_CLEAR_FOLDER
from tasks.registry.store import BASE_FOLDER
from tasks.sources.ingest import OberSource
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.dataset import create_version, load_samples, verify_dataset
from tasks.storage.shards import ShardReader, decode_composite, encode_composite, write_shard
from tasks.storage.workspace import Workspace
from tasks.training.version_data import training_triplets, version_reader
from tests.flows.objectclear.test_compositing import small
from tests.models.diffusion.test_sdxl import published
from tests.tasks.sources.ober_folder import ober_row, write_ober

__all__ = ["published"]

pytestmark = pytest.mark.usefixtures("prefect_server")
SHORT = TrainingConfig(steps=2, batch_size=3, warmup_steps=1, checkpoint_every=1)
ROWS = [ober_row(number, f"{number}_0") for number in range(4)]


def bits(mask: np.ndarray) -> bytes:
    return np.packbits(mask).tobytes()


@pytest.fixture(scope="module")
def composed(
    prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, CompositingResult]:
    """A version of 4 captured pairs, then OBER's 4 samples, then composites; all 96 px."""
    folder = tmp_path_factory.mktemp("joined")
    write_ober(folder / "OBER", "train-00000-of-00001.parquet", ROWS)
    place = folder / "workspace"
    pairs = SyntheticSource(renderer=SyntheticConfig(size_px=96, seed=77), count=4)
    ober = OberSource(path=folder / "OBER", size_px=96, validation_fraction=0)
    for source in (pairs, ober):
        ingest(IngestConfig(workspace=place, source=source))
    result = objectclear_compositing(small(place, add_to_dataset=True))
    return Workspace.existing(place), result


def test_composites_join_the_version_once(composed) -> None:
    workspace, result = composed
    version = workspace.ledger().versions.current()
    assert version is not None
    assert (version.number, version.parents, version.samples) == (3, (2,), 8 + result.composites)
    assert version.by_stage == {"composites": result.composites, "triplets": 8}
    assert (result.version, result.added, result.left_out) == (3, result.composites, 0)
    samples = load_samples(workspace, 3)
    assert {s.split for s in samples if s.stage == "composites"} == {"train", "validation"}
    assert verify_dataset(workspace).clean
    again = objectclear_compositing(small(workspace.root, add_to_dataset=True))
    assert (again.version, again.added) == (None, 0)
    assert workspace.ledger().versions.current() == version


def test_a_composite_of_a_scene_in_another_split_is_left_out(composed, tmp_path: Path) -> None:
    """The dataset has the scene of a cut-out, which is not the composite's own scene, as test."""
    workspace, _ = composed
    (shard, *_) = workspace.ledger().shards.all(stage="composites")
    with ShardReader(workspace, [shard]) as reader:
        composites = [decode_composite(reader[place]) for place in range(len(reader))]
    other = next(scene for c in composites for scene in c.scenes if scene != c.scene)
    bad = [c for c in composites if other in c.scenes]
    place = tmp_path / "workspace"
    mine = Workspace.open(place)
    tested = encode_composite(composites[0], "png")
    tested = type(tested)(key="tested", members=tested.members, scene=other, split="test")
    ref = write_shard(mine, stage="triplets", round=0, index=0, input_digest="t", samples=[tested])
    create_version(mine, [Selection(ref)], None, "a test pair")
    result = objectclear_compositing(small(place, add_to_dataset=True))
    assert result.left_out >= len(bad) > 0
    assert result.added + result.left_out == result.composites
    left_out = [r for r in mine.ledger().rejects.all() if r.source == "dataset"]
    assert {r.reason for r in left_out} == {RejectReason.TWO_SPLITS}
    assert {c.key for c in bad} <= {r.name for r in left_out}
    assert len(left_out) == result.left_out


def test_a_remover_trains_on_all_of_them(composed) -> None:
    workspace, _ = composed
    config = RemoverTrainingConfig(workspace=workspace.root, parent=str(BASE_FOLDER), training=SHORT)
    assert len(train_on_version(config).losses) == 2


def test_a_batch_is_shared_by_pairs_and_composites(composed) -> None:
    workspace, _ = composed
    with version_reader(workspace, 3) as (reader, samples):
        _, keys, groups = training_triplets(reader, samples)
    train = [s for s in samples if s.split == "train"]
    of_stage = {stage: [s.key for s in train if s.stage == stage] for stage in ("triplets", "composites")}
    assert keys == of_stage["triplets"] + of_stage["composites"]
    assert groups == [range(8), range(8, len(keys))]


def test_the_stored_m_fg_reaches_the_mask_loss(composed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, but for a flip: of composites as they were composed, and of OBER as it was published."""
    workspace, _ = composed
    seen: list[np.ndarray] = []
    real = object_clear.mask_loss

    def spied(maps: Any, foreground: torch.Tensor) -> torch.Tensor:
        seen.extend(foreground[:, 0].numpy() > 0.5)
        return real(maps, foreground)

    monkeypatch.setattr(object_clear, "mask_loss", spied)
    config = ObjectClearRunConfig(
        workspace=workspace.root, training=SHORT.model_copy(update={"steps": 6, "batch_size": 8})
    )
    trained = train_object_clear_on_version(config)
    assert len(trained.losses) == 6
    assert len(seen) == 48
    refs = workspace.ledger().shards.all(stage="composites")
    with ShardReader(workspace, refs) as reader:
        composites = [decode_composite(reader[place]).foreground for place in range(len(reader))]
    ober = [np.asarray(Image.open(io.BytesIO(r["object_effect_mask"]["bytes"]))) > 127 for r in ROWS]
    exact = {kind: {bits(m[:, ::step]) for m in masks for step in (1, -1)} for kind, masks in
             (("composites", composites), ("ober", ober))}  # fmt: skip
    counts = {kind: sum(bits(mask) in masks for mask in seen) for kind, masks in exact.items()}
    assert counts["composites"] == 24, "half of every batch"
    assert counts["ober"] == 12, "8 pairs, 4 of them OBER's, each 3 times in 24 draws"


def test_the_ledger_has_the_model_and_the_training_is_not_repeated(composed) -> None:
    workspace, _ = composed
    config = ObjectClearRunConfig(workspace=workspace.root, training=SHORT)
    trained = train_object_clear_on_version(config)
    (entry,) = [m for m in workspace.ledger().models.all("object-clear") if m.hash == trained.hash]
    assert (entry.dataset_version, entry.path) == (3, trained.folder)
    assert train_object_clear_on_version(config) == trained
    shipped = ObjectClearPipeline.from_pretrained(OBJECT_CLEAR_FOLDER)
    ours = ObjectClearPipeline.from_pretrained(workspace.root / trained.folder)
    assert ours.config["num_inference_steps"] == shipped.config["num_inference_steps"]
    assert ours.network.fingerprint() != shipped.network.fingerprint()
    further = train_object_clear_on_version(
        config.model_copy(update={"parent": workspace.root / trained.folder})
    )
    assert workspace.ledger().models.of_hash(further.hash).parent == trained.hash


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP, as openai/clip-vit-large-patch14 is published, with a few thousand parameters."""
    torch.manual_seed(1)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 2, "projection_dim": 12}
    vision, text = {**size, "image_size": 32, "patch_size": 8}, {**size, "vocab_size": 60}
    folder = tmp_path_factory.mktemp("weights") / "clip"
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    return folder


def test_full_size_begins_from_published_weights_and_removes(
    composed, published: Path, clip: Path, tmp_path: Path
) -> None:
    workspace, _ = composed
    settings = {
        "training": {"steps": 2, "batch_size": 2, "checkpoint_every": 1},
        "distributed": {"precision": "bfloat16", "gradient_checkpointing": True, "micro_batch_size": 1},
    }
    (tmp_path / "short.json").write_text(json.dumps(settings))
    words = ["train", "object-clear", "--profile", "full", "--workspace", str(workspace.root), "--json"]
    words += ["--parent", str(published), "--image-encoder", str(clip)]
    words += ["--config", str(tmp_path / "short.json")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    trained = json.loads(result.stdout)
    folder = workspace.root / trained["folder"]
    network = load_object_clear(folder)
    assert network.object_token.config["embedding_dim"] == 12
    assert network.object_token.config["token_dim"] == network.unet.config["cross_attention_dim"] == 40
    assert network.prompt.hidden.shape == (1, 77, 40)
    pipeline = ObjectClearPipeline.from_pretrained(folder)
    assert (pipeline.config["guidance_scale"], pipeline.config["num_inference_steps"]) == (2.5, 20)
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    mask = np.zeros((64, 80), np.uint8)
    mask[20:40, 30:50] = 255
    for name, pixels in (("image.png", image), ("mask.png", mask)):
        cv2.imwrite(str(tmp_path / name), pixels)
    paths = [str(tmp_path / name) for name in ("image.png", "mask.png")]
    words = ["remove", *paths, "--out", str(tmp_path / "out.png"), "--model", str(folder), "--steps", "2"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(tmp_path / "out.png")).shape == (64, 80, 3)


def test_what_is_missing_is_told(composed, published: Path, clip: Path, tmp_path: Path) -> None:
    workspace, _ = composed

    def fault(error: type[Exception], **settings: Any) -> str:
        config = ObjectClearRunConfig(workspace=workspace.root, training=SHORT, **settings)
        with pytest.raises(error) as told:
            train_object_clear_on_version(config)
        return str(told.value)

    assert "name SDXL-inpainting with --parent" in fault(FlowError, profile="full")
    assert "--image-encoder" in fault(FlowError, parent=published)
    assert "leave out --image-encoder" in fault(FlowError, parent=OBJECT_CLEAR_FOLDER, image_encoder=clip)
    assert "no text encoders" in fault(ModelError, parent=BASE_FOLDER, image_encoder=clip)
    assert "CLIP's image encoder" in fault(ModelError, parent=published, image_encoder=tmp_path)
    assert "is no folder" in fault(ModelError, parent=tmp_path / "absent")
