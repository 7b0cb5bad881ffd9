"""A filmed workspace: pool, truth, pairs and an untrained remover, all of 32 px; and one under review."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_specs.candidate import Candidate
from data_specs.keys import Split, derive_key
from data_specs.review_batch import QueuePolicy
from models.diffusion.inpainting import build_tiny_network
from models.diffusion.tiny_vae import PatchCodec
from models.images.tensors import images_to_tensor
from models.rorem.remover import InpaintingRemover, SamplingConfig
from tasks.registry.removers import RemoverRef
from tasks.registry.store import keep_model, record
from tasks.review.auth import invite
from tasks.review.batches import make_batch
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset import create_version
from tasks.storage.shards import ShardReader, decode_triplet, encode_candidate, write_shard
from tasks.storage.workspace import Workspace


def render_work(stage, index: int, split: Split, seed: int, count: int) -> RenderWork:
    studio = SyntheticConfig(size_px=32, seed=seed, split=split)
    return RenderWork(round=0, index=index, stage=stage, renderer=studio, first=0, count=count)


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Made once; nobody writes here."""
    workspace = Workspace.open(tmp_path_factory.mktemp("filmed") / "workspace")
    refs = {
        "pool": render(workspace, render_work("pool", 0, "train", 1, 24)),
        "fresh": render(workspace, render_work("pool", 1, "validation", 1, 6)),
        "pairs": render(workspace, render_work("triplets", 0, "train", 0, 12)),
        "tests": render(workspace, render_work("triplets", 1, "test", 0, 8)),
    }
    truths = workspace.ledger().shards.all(stage="truth")
    version = create_version(workspace, [(refs["pairs"], None)], None, "initial pairs")
    with ShardReader(workspace, [refs["pairs"]]) as reader:
        sources = [decode_triplet(reader[i]).source for i in range(len(reader))]
    network = build_tiny_network(PatchCodec(8).fit(images_to_tensor(sources)), seed=0)
    base = InpaintingRemover(network, SamplingConfig(steps=2))
    folder = keep_model(workspace, "base", network.save)
    entry = record(
        workspace,
        kind="remover",
        model_hash=base.model_hash,
        folder=folder,
        parent=None,
        dataset_version=None,
        metrics={},
    )
    workspace.ledger().models.promote("remover", entry.hash, "the base")
    remover = RemoverRef(hash=entry.hash, folder=entry.path, sampling=base.config)
    return SimpleNamespace(
        workspace=workspace, truths=tuple(truths), version=version, remover=remover, **refs
    )


@pytest.fixture
def studio(filmed: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """A copy of one's own: workspace, pool, fresh, pairs, tests, truths, version, remover."""
    shutil.copytree(filmed.workspace.root, tmp_path / "workspace")
    return SimpleNamespace(**{**vars(filmed), "workspace": Workspace.open(tmp_path / "workspace")})


@pytest.fixture
def asked(tmp_path: Path) -> SimpleNamespace:
    """As `ask` makes it, one a test."""
    return _asked(tmp_path / "asked")


@pytest.fixture(scope="session")
def ask() -> Callable[[Path], SimpleNamespace]:
    """Makes a workspace with a batch ``b1`` of 12 candidates of 24×16 px, and ana's and ben's tokens."""
    return _asked


def _asked(folder: Path) -> SimpleNamespace:
    workspace = Workspace.open(folder)
    rng = np.random.default_rng(0)
    candidates = [_candidate(number, rng) for number in range(12)]
    ref = write_shard(
        workspace,
        stage="candidates",
        round=1,
        index=0,
        input_digest="asked",
        samples=[encode_candidate(each, "png") for each in candidates],
    )
    ledger = workspace.ledger()
    tokens = {name: invite(ledger, name) for name in ("ana", "ben")}
    make_batch(workspace, "b1", [ref], QueuePolicy(overlap_fraction=0))
    return SimpleNamespace(
        workspace=workspace,
        ledger=ledger,
        ref=ref,
        candidates={each.key: each for each in candidates},
        **tokens,
    )


def _candidate(number: int, rng: np.random.Generator) -> Candidate:
    mask = np.zeros((16, 24), bool)
    mask[3:9, 5 : 12 + number] = True
    return Candidate(
        key=derive_key("asked", number),
        item=f"item{number}",
        scene=f"scene{number}",
        split="train",
        class_name="sphere",
        variant="tight",
        model_hash="none",
        source_hash="none",
        source=rng.integers(0, 256, (16, 24, 3), dtype=np.uint8),
        mask=mask,
        removal=rng.integers(0, 256, (16, 24, 3), dtype=np.uint8),
    )
