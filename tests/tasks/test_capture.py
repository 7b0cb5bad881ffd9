"""Capturing: a clip whose shard is finished is not even opened."""

from pathlib import Path

import pytest

from data_specs.errors import CleanplateError
from tasks.capture import CaptureWork, capture
from tasks.shards import write_shard
from tasks.sources.clip import ClipConfig
from tasks.workspace import Workspace


def test_a_finished_clip_is_not_captured_again(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    work = CaptureWork(round=0, index=0, clip=ClipConfig(path=tmp_path / "gone.mp4"), clip_sha256="0")
    with pytest.raises(CleanplateError):
        capture(workspace, work)
    ref = write_shard(
        workspace, stage="triplets", round=0, index=0, input_digest=work.digest, samples=iter(())
    )
    assert capture(workspace, work) == ref
