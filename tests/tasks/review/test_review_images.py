"""The images under review: facts without decoding images, and few open files for any number of shards."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_specs.candidate import Candidate
from data_specs.review_batch import QueuePolicy
from data_specs.shard import ShardRef
from tasks.review import service
from tasks.review.batches import make_batch
from tasks.review.service import ReviewImages
from tasks.storage.shards import encode_candidate, write_shard
from tasks.storage.workspace import Workspace

GARBAGE = b"no image at all"


def candidate_shard(workspace: Workspace, index: int) -> ShardRef:
    """One candidate, 24 × 40, masked in rows 5–8 and columns 10–29. Its source and removal are no images."""
    mask = np.zeros((24, 40), bool)
    mask[5:9, 10:30] = True
    image = np.zeros((24, 40, 3), np.uint8)
    candidate = Candidate(
        key=f"candidate-{index}",
        item=f"item {index}",
        scene=f"scene {index}",
        split="train",
        class_name="lamp",
        variant="tight",
        model_hash="none",
        source_hash="none",
        source=image,
        mask=mask,
        removal=image,
    )
    sample = encode_candidate(candidate, "png")
    members = {**sample.members, "source.png": GARBAGE, "removal.png": GARBAGE}
    return write_shard(
        workspace,
        stage="candidates",
        round=1,
        index=index,
        input_digest=f"shard {index}",
        samples=[replace(sample, members=members)],
    )


def open_tars(workspace: Workspace) -> int:
    """Open files of this process that are tars of the workspace."""
    number = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        number += target.startswith(str(workspace.shards_dir.resolve())) and target.endswith(".tar")
    return number


def test_facts_are_read_without_decoding_source_and_removal(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    make_batch(workspace, "b", [candidate_shard(workspace, 0)], QueuePolicy())
    images = ReviewImages(workspace, workspace.ledger())
    facts = images.describe("candidate-0")
    assert (facts.class_name, facts.width, facts.height) == ("lamp", 40, 24)
    assert facts.mask_box == (10, 5, 30, 9)
    assert images.image("candidate-0", "source").content == GARBAGE, "the shard's own bytes"


def test_few_tars_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_READERS", 2)
    workspace = Workspace.open(tmp_path / "w")
    make_batch(workspace, "b", [candidate_shard(workspace, index) for index in range(6)], QueuePolicy())
    images = ReviewImages(workspace, workspace.ledger())
    for index in (0, 1, 2, 0, 3, 4, 5, 0):
        assert images.image(f"candidate-{index}", "mask").media_type == "image/png"
        assert 0 < open_tars(workspace) <= 2
