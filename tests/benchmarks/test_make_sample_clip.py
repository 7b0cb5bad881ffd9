"""The command that made the sample clip."""

from pathlib import Path

import cv2
import pytest

from benchmarks.make_sample_clip import make_sample_clip
from data_specs.errors import InputError
from tasks.sources.clip.clip import SAMPLE_CLIP


def test_it_halves_the_frames_and_writes_a_readable_clip(tmp_path: Path) -> None:
    written = make_sample_clip(SAMPLE_CLIP, tmp_path / "small.mp4")
    reader = cv2.VideoCapture(str(tmp_path / "small.mp4"))
    assert written == 397 // 2
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == written
    assert (reader.get(cv2.CAP_PROP_FRAME_WIDTH), reader.get(cv2.CAP_PROP_FPS)) == (480, 2.5)


def test_a_missing_original_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.avi"):
        make_sample_clip(tmp_path / "none.avi", tmp_path / "out.mp4")
