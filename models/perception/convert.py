"""Convert a published pickle to safetensors, once: `python -m models.perception.convert sam FILE FOLDER`.

The pickle is read as weights only: torch builds tensors and, for YOLO, ultralytics' and torch's own layers,
and refuses everything else.
"""

import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from data_specs.errors import InputError
from models.perception.weights import FILE_NAME
from models.perception.yolo import allowed_globals, class_notes


def convert(kind: str, file: Path, folder: Path) -> None:
    """Write ``model.safetensors`` into ``folder``.

    Args:
        kind: "sam" or "yolo".
        file: sam_vit_*.pth or yolo11*.pt, as published.
        folder: Made if need be.

    Raises:
        InputError: If the kind is unknown, or the file holds anything but such weights.
    """
    if kind not in ("sam", "yolo"):
        raise InputError(kind, "is neither sam nor yolo")
    try:
        with torch.serialization.safe_globals(allowed_globals(file) if kind == "yolo" else []):
            found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, UnpicklingError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(file, f"cannot be read as weights only ({first})") from error
    notes: dict[str, str] = {}
    if kind == "yolo":
        network: nn.Module = found.get("ema") or found["model"]
        notes = class_notes(tuple(network.names.values()))  # pyright: ignore
        found = network.float().state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{FILE_NAME}.aside"
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, aside, metadata=notes)
    aside.replace(folder / FILE_NAME)


if __name__ == "__main__":
    convert(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
