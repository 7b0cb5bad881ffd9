"""Frames of a video, read lazily by cv2."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_specs.arrays import RgbImage
from data_specs.errors import InputError

_RATE_IF_UNSTATED = 25.0


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video's container says about it."""

    frames: int
    """As stated; a cut file holds fewer."""
    rate: float
    """Frames a second."""

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.frames / self.rate


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame."""

    index: int
    seconds: float
    """Since the clip's first frame."""
    picture: RgbImage
    """H×W×3 uint8."""


def video_facts(path: Path) -> VideoFacts:
    """What the container says.

    Raises:
        InputError: When the file is missing, is no video, or holds no readable frame.
    """
    if not path.is_file():
        raise InputError(path, "no such video file")
    reader = cv2.VideoCapture(str(path))
    try:
        if not reader.isOpened() or not reader.grab():
            raise InputError(path, "cv2 cannot read it as a video; convert it to H.264 or MPEG-4 first")
        stated = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = reader.get(cv2.CAP_PROP_FPS)
    finally:
        reader.release()
    if stated < 1:
        raise InputError(path, "the container states no number of frames; write it anew as .mp4")
    return VideoFacts(frames=stated, rate=rate if 0 < rate < 1000 else _RATE_IF_UNSTATED)


def read_frames(path: Path, *, step: int, rate: float) -> Iterator[Frame]:
    """Every ``step``-th frame from the first on, as many as can be read."""
    reader = cv2.VideoCapture(str(path))
    index = 0
    try:
        while reader.grab():
            if index % step == 0:
                found, picture = reader.retrieve()
                if not found:
                    return
                pixels = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
                yield Frame(index, index / rate, pixels)
            index += 1
    finally:
        reader.release()
