"""Both models trained on a dataset version of captured pairs, composites and OBER's samples."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from data_specs.cutout import Cutout
from data_specs.errors import CleanplateError, FlowError, ModelError
from data_specs.plate import Plate
from data_specs.reject import RejectReason
from data_specs.version import Selection
from models.objectclear.network import load_object_clear
from models.objectclear.pipeline import ObjectClearPipeline
from models.objectclear.remover import ObjectClearRemover
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig
from models.training.losses import object_clear
from models.training.losses.object_clear import ObjectClearLossConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.objectclear.add_to_dataset import add_composites
from tasks.objectclear.composite import compose_draws
from tasks.objectclear.train_on_version import (
    ObjectClearTraining,
    Start,
    TrainedObjectClear,
    pipeline_to_train,
    train_on_version,
)
from tasks.registry.removers import OBJECT_CLEAR_FOLDER, RemoverRef
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.rorem.train_remover import RemoverTraining, train_remover
from tasks.sources.ingest import IngestWork, ingest_files
from tasks.sources.readers import OberSource
from tasks.sources.source_files import files_digest
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset import create_version, load_samples, verify_dataset
from tasks.storage.shards import ShardReader, decode_composite, encode_composite, write_shard
from tasks.storage.workspace import Workspace
from tasks.training.version_data import training_triplets, version_reader
from tests.models.diffusion.test_sdxl import published
from tests.tasks.objectclear.conftest import SIZE
from tests.tasks.objectclear.small_stock import compose_work, stocked
from tests.tasks.sources.ober_folder import ober_row, write_ober

__all__ = ["published"]

SHORT = TrainingConfig(steps=2, batch_size=2, warmup_steps=1, checkpoint_every=1)
ROWS = [ober_row(number, f"{number}_0", size=SIZE) for number in range(4)]


def bits(mask: np.ndarray) -> bytes:
    return np.packbits(mask).tobytes()


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, cutouts: list[Cutout], plates: list[Plate]
) -> Workspace:
    """Version 1: 4 captured pairs and OBER's 4 samples. Version 2: composites, too. All of one size."""
    folder = tmp_path_factory.mktemp("joined")
    space = Workspace.open(folder / "workspace")
    renderer = SyntheticConfig(size_px=SIZE, seed=77)
    pairs = render(space, RenderWork(round=0, index=0, stage="triplets", renderer=renderer, first=0, count=4))
    write_ober(folder / "OBER", "train-00000-of-00001.parquet", ROWS)
    source = OberSource(path=folder / "OBER", size_px=SIZE, validation_fraction=0)
    digest = files_digest(source)
    work = IngestWork(round=0, index=1, source=source, files_digest=digest, shard_samples=9)
    ober = ingest_files(space, work).shard
    assert ober is not None
    create_version(space, [Selection(pairs), Selection(ober)], None, "pairs")
    compose_draws(space, compose_work(stocked(space, cutouts, plates), count=12))
    addition, left_out = add_composites(space, space.ledger().shards.all(stage="composites"))
    assert (addition.version, left_out) == (2, 0)
    return space


def training(workspace: Workspace, start: Start, **settings: Any) -> TrainedObjectClear:
    pipeline = pipeline_to_train(start)
    version = workspace.ledger().versions.numbered(2)
    work = ObjectClearTraining(
        name="test",
        parent=ObjectClearRemover(pipeline).model_hash,
        version=2,
        version_sha256=version.sha256,
        training=settings.pop("training", SHORT),
        loss=ObjectClearLossConfig(),
        guidance_scale=pipeline.config["guidance_scale"],
        num_inference_steps=pipeline.config["num_inference_steps"],
    )
    return train_on_version(workspace, work, start, **settings)


def test_composites_join_the_version_once(workspace: Workspace) -> None:
    shards = workspace.ledger().shards.all(stage="composites")
    count = sum(shard.samples for shard in shards)
    version = workspace.ledger().versions.current()
    assert version is not None
    assert (version.number, version.parents, version.samples) == (2, (1,), 8 + count)
    assert version.by_stage == {"composites": count, "triplets": 8}
    assert add_composites(workspace, shards) == ((0, None), 0)
    assert workspace.ledger().versions.current() == version
    assert verify_dataset(workspace).clean


def test_a_composite_of_a_scene_in_another_split_is_left_out(workspace: Workspace, tmp_path: Path) -> None:
    """The dataset has the scene of a cut-out, which is not the composite's own scene, as test."""
    (shard,) = workspace.ledger().shards.all(stage="composites")
    with ShardReader(workspace, [shard]) as reader:
        composites = [decode_composite(reader[place]) for place in range(len(reader))]
    other = next(scene for c in composites for scene in c.scenes if scene != c.scene)
    bad = {c.key for c in composites if other in c.scenes}
    mine = Workspace.open(tmp_path / "workspace")
    sample = encode_composite(composites[0], "png")
    tested = type(sample)(key="tested", members=sample.members, scene=other, split="test")
    ref = write_shard(mine, stage="triplets", round=0, index=0, input_digest="t", samples=[tested])
    create_version(mine, [Selection(ref)], None, "a test pair")
    samples = [encode_composite(c, "png") for c in composites]
    copied = write_shard(mine, stage="composites", round=0, index=0, input_digest="c", samples=samples)
    addition, left_out = add_composites(mine, [copied])
    assert left_out == len(bad) > 0
    assert addition.added == len(composites) - len(bad)
    assert {s.key for s in load_samples(mine, 2)} == {c.key for c in composites} - bad | {"tested"}
    rejects = [reject for reject in mine.ledger().rejects.all() if reject.source == "dataset"]
    assert {reject.name for reject in rejects} == bad
    assert {reject.reason for reject in rejects} == {RejectReason.TWO_SPLITS}


def test_a_batch_is_shared_by_pairs_and_composites(workspace: Workspace) -> None:
    with version_reader(workspace, 2) as data:
        triplets, groups = training_triplets(data)
        keys = [triplets[place, False].key for place in range(len(triplets))]
    samples = load_samples(workspace, 2)
    of_stage = {stage: [s.key for s in samples if s.stage == stage] for stage in ("triplets", "composites")}
    assert keys == of_stage["triplets"] + of_stage["composites"]
    assert groups == [range(8), range(8, len(keys))]


def test_a_remover_trains_on_all_of_them(workspace: Workspace) -> None:
    sampling = SamplingConfig(steps=2)
    base = InpaintingRemover(network_at(BASE_FOLDER), sampling)
    work = RemoverTraining(
        name="test",
        parent=RemoverRef(hash=base.model_hash, folder=str(BASE_FOLDER), sampling=sampling),
        version=2,
        version_sha256=workspace.ledger().versions.numbered(2).sha256,
        training=SHORT,
        loss=RemoverLossConfig(),
        sampling=sampling,
    )
    assert len(train_remover(workspace, work).losses.means) == 2


def test_the_stored_m_fg_reaches_the_mask_loss(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, but for a flip: of composites as they were composed, and of OBER as it was published."""
    given: list[np.ndarray] = []
    real = object_clear.mask_loss

    def spied(maps: Any, foreground: torch.Tensor) -> torch.Tensor:
        given.extend(foreground[:, 0].numpy() > 0.5)
        return real(maps, foreground)

    monkeypatch.setattr(object_clear, "mask_loss", spied)
    config = SHORT.model_copy(update={"steps": 4, "batch_size": 4})
    training(workspace, Start(OBJECT_CLEAR_FOLDER, None, 0), training=config)
    with ShardReader(workspace, workspace.ledger().shards.all(stage="composites")) as reader:
        composites = [decode_composite(reader[place]).foreground for place in range(len(reader))]
    ober = [np.asarray(Image.open(io.BytesIO(row["object_effect_mask"]["bytes"]))) > 127 for row in ROWS]
    counts = [
        sum(bits(mask) in {bits(m[:, ::step]) for m in masks for step in (1, -1)} for mask in given)
        for masks in (composites, ober)
    ]
    assert len(given) == 16
    assert counts == [8, 4], "half of every batch are composites; each pair is drawn once in 8 draws"


def test_the_ledger_has_the_model_and_the_training_is_not_repeated(workspace: Workspace) -> None:
    shipped = ObjectClearPipeline.from_pretrained(OBJECT_CLEAR_FOLDER)
    trained = training(workspace, Start(OBJECT_CLEAR_FOLDER, None, 0))
    entry = workspace.ledger().models.of_hash(trained.hash)
    assert (entry.kind, entry.dataset_version, entry.path) == ("object-clear", 2, trained.folder)
    steps: list[int] = []
    again = training(
        workspace,
        Start(OBJECT_CLEAR_FOLDER, None, 0),
        progress=lambda done, *_: steps.append(done),
    )
    assert (again, steps) == (trained, [])
    ours = ObjectClearPipeline.from_pretrained(workspace.root / trained.folder)
    assert ours.config["num_inference_steps"] == shipped.config["num_inference_steps"]
    assert ours.network.fingerprint() != shipped.network.fingerprint()
    further = training(workspace, Start(workspace.root / trained.folder, None, 0))
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


def test_full_size_begins_from_published_weights(workspace: Workspace, published: Path, clip: Path) -> None:
    start = Start(published, clip, 3)
    pipeline = pipeline_to_train(start)
    whole = CLIPModel.from_pretrained(clip).state_dict()
    encoder = pipeline.network.image_encoder.state_dict()
    assert all(torch.equal(weights, whole[name]) for name, weights in encoder.items())
    distributed = DistributedConfig(precision="bfloat16", gradient_checkpointing=True, micro_batch_size=1)
    trained = training(workspace, start, distributed=distributed)
    network = load_object_clear(workspace.root / trained.folder)
    assert network.object_token.config["embedding_dim"] == 12
    assert network.object_token.config["token_dim"] == network.unet.config["cross_attention_dim"] == 40
    assert network.prompt.hidden.shape == (1, 77, 40)
    removed = ObjectClearPipeline.from_pretrained(workspace.root / trained.folder)
    assert (removed.config["guidance_scale"], removed.config["num_inference_steps"]) == (2.5, 20)
    image, mask = np.zeros((64, 80, 3), np.uint8), np.zeros((64, 80), bool)
    mask[20:40, 30:50] = True
    (removal,) = ObjectClearRemover(removed, steps=2).remove([image], [mask], [0])
    assert removal.shape == (64, 80, 3)


def test_what_is_missing_is_told(published: Path, clip: Path, tmp_path: Path) -> None:
    def fault(error: type[CleanplateError], parent: Path, image_encoder: Path | None) -> str:
        with pytest.raises(error) as raised:
            pipeline_to_train(Start(parent, image_encoder, 0))
        return str(raised.value)

    assert "--image-encoder" in fault(FlowError, published, None)
    assert "leave out --image-encoder" in fault(FlowError, OBJECT_CLEAR_FOLDER, clip)
    assert "no text encoders" in fault(ModelError, BASE_FOLDER, clip)
    assert "CLIP's image encoder" in fault(ModelError, published, tmp_path)
    assert "is no folder" in fault(ModelError, tmp_path / "absent", None)
