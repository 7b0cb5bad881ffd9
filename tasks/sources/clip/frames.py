"""Read the frames of a video lazily with cv2, measure camera shifts and match their light."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import RgbImage
from data_specs.errors import InputError

_RATE_IF_UNSTATED = 25.0


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video's container says about it."""

    frames: int
    """As stated. A truncated file holds fewer."""
    rate: float
    """Frames per second."""

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.rate


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame."""

    index: int
    seconds: float
    """Time since the clip's first frame."""
    image: RgbImage
    """H×W×3 uint8."""


def video_facts(path: Path) -> VideoFacts:
    """Read what the container says.

    Raises:
        InputError: If the file is missing, is no video, or has no readable frame.
    """
    if not path.is_file():
        raise InputError(path, "this video file does not exist; name another")
    reader = cv2.VideoCapture(str(path))
    try:
        if not reader.isOpened() or not reader.grab():
            raise InputError(path, "cv2 cannot read it as a video; convert it to H.264 or MPEG-4 first")
        stated = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = reader.get(cv2.CAP_PROP_FPS)
    finally:
        reader.release()
    if stated < 1:
        raise InputError(path, "the video file does not state its number of frames; convert it to .mp4")
    return VideoFacts(frames=stated, rate=rate if 0 < rate < 1000 else _RATE_IF_UNSTATED)


def read_frames(path: Path, *, step: int, rate: float) -> Iterator[Frame]:
    """Every ``step``-th frame from the first on, as many as can be read."""
    reader = cv2.VideoCapture(str(path))
    index = 0
    try:
        while reader.grab():
            if index % step == 0:
                success, image = reader.retrieve()
                if not success:
                    return
                pixels = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
                yield Frame(index, index / rate, pixels)
            index += 1
    finally:
        reader.release()


# Camera shift: phase correlation of a frame with a reference.

_LONG_SIDE_PX = 320
"""Enough for a tenth of a pixel, and small enough to take only a millisecond or two."""


@dataclass(frozen=True, slots=True)
class CameraShift:
    """How far a frame is shifted against the reference."""

    right: float
    """In pixels of the frame."""
    down: float
    """In pixels of the frame."""
    response: float
    """Fraction of the correlation's energy at its peak, 0..1. Low if the images have little in common."""

    @property
    def pixels(self) -> float:
        """The length of the shift in pixels."""
        return float(np.hypot(self.right, self.down))


def camera_shift(image: RgbImage, reference: RgbImage) -> CameraShift:
    """Measure the shift between two H×W×3 uint8 images of one size."""
    scale = max(image.shape[:2]) / _LONG_SIDE_PX
    first, second = _edges(reference, scale), _edges(image, scale)
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    (right, down), response = cv2.phaseCorrelate(first, second, window)
    return CameraShift(right=right * scale, down=down * scale, response=float(response))


def _edges(image: RgbImage, scale: float) -> NDArray[np.float32]:
    """h×w float32: the image without slow shading. A change of light is then no shift."""
    height, width = image.shape[:2]
    size = (max(16, round(width / scale)), max(16, round(height / scale)))
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 4)


# Light drift: match one image of a scene to the light of another.

_REDUCTION = 8
_FIELD_SIGMA = 4.0
"""Blur of the local field, in reduced pixels: 32 pixels of the image."""
_TOLERANCE = 6.0
"""In levels. What differs more after the global fit is an object, not light."""


def match_light(image: RgbImage, target: RgbImage) -> RgbImage:
    """Match ``image`` to the light of ``target``: a gain and an offset for each channel, without objects.

    Args:
        image: H×W×3 uint8.
        target: H×W×3 uint8, the same view.
    """
    small, goal = _reduced(image), _reduced(target)
    tables = np.empty((1, 256, 3), np.uint8)
    for channel in range(3):
        gain, offset = _robust_line(small[..., channel].ravel(), goal[..., channel].ravel())
        tables[0, :, channel] = np.clip(np.rint(np.arange(256) * gain + offset), 0, 255)
    return np.asarray(cv2.LUT(image, tables), np.uint8)


def match_light_locally(image: RgbImage, target: RgbImage) -> RgbImage:
    """Like ``match_light``, then follow slow differences across the image (a passing cloud)."""
    matched = match_light(image, target)
    difference = _reduced(target) - _reduced(matched)
    is_light = (np.abs(difference).max(axis=2) < _TOLERANCE).astype(np.float32)
    weight = cv2.GaussianBlur(is_light, (0, 0), _FIELD_SIGMA)[..., None]
    field = cv2.GaussianBlur(difference * is_light[..., None], (0, 0), _FIELD_SIGMA) / np.maximum(
        weight, 0.05
    )
    height, width = image.shape[:2]
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(matched + field), 0, 255).astype(np.uint8)


def _reduced(image: RgbImage) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    size = (max(8, width // _REDUCTION), max(8, height // _REDUCTION))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _robust_line(values: NDArray[np.float32], goals: NDArray[np.float32]) -> tuple[float, float]:
    """Gain and offset from ``values`` to ``goals``. Three rounds remove outliers (objects)."""
    gain, offset = 1.0, float(np.median(goals - values))
    for _ in range(3):
        residual = np.abs(goals - gain * values - offset)
        kept = residual <= max(2.0, 3.0 * float(np.median(residual)))
        spread = float(values[kept].std())
        if kept.sum() < 16 or spread < 2.0:
            break  # A flat image determines no gain.
        mean_value, mean_goal = float(values[kept].mean()), float(goals[kept].mean())
        gain = float(np.mean((values[kept] - mean_value) * (goals[kept] - mean_goal))) / spread**2
        offset = mean_goal - gain * mean_value
    return gain, offset
