"""Make the shipped sample clip: ``python -m tasks.sources.make_sample_clip vtest.avi pedestrians.mp4``.

It keeps every second frame at 480×360. The file stays below 3 MB, and every build of cv2 can read it.
"""

import argparse
from pathlib import Path

import cv2

from data_specs.errors import InputError

SIZE = (480, 360)
FRAME_STEP = 2


def make_sample_clip(original: Path, target: Path) -> int:
    """Write the reduced clip and return its number of frames.

    InputError: If ``original`` cannot be read or ``target`` cannot be written.
        InputError: If ``original`` cannot be read or ``target`` cannot be written.
    """
    reader = cv2.VideoCapture(str(original))
    if not reader.isOpened():
        raise InputError(original, "cv2 cannot open it as a video")
    rate = reader.get(cv2.CAP_PROP_FPS) / FRAME_STEP
    writer = cv2.VideoWriter(str(target), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, SIZE)
    if not writer.isOpened():
        raise InputError(target, "cv2 cannot write an mp4v video there")
    written = 0
    while True:
        for _ in range(FRAME_STEP - 1):
            reader.grab()
        found, frame = reader.read()
        if not found:
            break
        writer.write(cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA))
        written += 1
    writer.release()
    return written


def main() -> None:
    """Run the command line of this file."""
    parser = argparse.ArgumentParser(description="Reduce a fixed-camera clip to the shipped sample.")
    parser.add_argument("original", type=Path, help="vtest.avi of OpenCV's samples")
    parser.add_argument("target", type=Path, help="the .mp4 to write")
    arguments = parser.parse_args()
    frames = make_sample_clip(arguments.original, arguments.target)
    print(f"{arguments.target}: {frames} frames, {arguments.target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
