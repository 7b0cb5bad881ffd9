"""Convert a published pickle to safetensors, once: `python -m models.perception.convert sam FILE FOLDER`."""

import argparse
import sys
from pathlib import Path

from data_specs.errors import CleanplateError
from models.perception.published_pickle import PickleKind, read_published
from models.perception.weights import FILE_NAME


def convert(kind: PickleKind, file: Path, folder: Path) -> None:
    """Write ``model.safetensors`` into ``folder``.

    Args:
        kind: "sam" or "yolo".
        file: sam_vit_*.pth or yolo11*.pt, as published.
        folder: Created if it does not exist.

    Raises:
        InputError: If the file holds anything but these weights.
    """
    weights = read_published(kind, file)
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{FILE_NAME}.aside"
    aside.write_bytes(weights)
    aside.replace(folder / FILE_NAME)


def main() -> None:
    """Convert the file. A file that is not such a pickle ends with an error of one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m models.perception.convert",
        description="Convert published weights to safetensors, once. The pickle runs no code: a process "
        "without access to files reads it, and takes out only tensors.",
    )
    parser.add_argument("kind", choices=("sam", "yolo"), help="sam_vit_*.pth, or yolo11*.pt")
    parser.add_argument("file", type=Path, help="the file as published")
    parser.add_argument("folder", type=Path, help="the folder that gets model.safetensors")
    given = parser.parse_args()
    try:
        convert(given.kind, given.file, given.folder)
    except CleanplateError as error:
        sys.exit(f"cleanplate: {error}")


if __name__ == "__main__":
    main()
