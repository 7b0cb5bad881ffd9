"""Capture's work: named by the clip's bytes, refused in a sentence where there is no clip."""

import shutil
from pathlib import Path

import pytest

from data_specs.errors import InputError
from tasks.sources.clip.clip import SAMPLE_CLIP, ClipConfig
from tasks.sources.video import capture_work


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.mp4", tmp_path):
        with pytest.raises(InputError, match=f"^{path}: cannot be read"):
            capture_work(ClipConfig(path=path), index=0)


def test_the_works_name_follows_the_bytes_and_settings(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    shutil.copy(SAMPLE_CLIP, clip)
    first = capture_work(ClipConfig(path=clip), index=0)
    assert capture_work(ClipConfig(path=clip), index=0).digest == first.digest
    assert capture_work(ClipConfig(path=clip, frame_step=5), index=0).digest != first.digest
    clip.write_bytes(clip.read_bytes() + b"\0")
    assert capture_work(ClipConfig(path=clip), index=0).digest != first.digest
