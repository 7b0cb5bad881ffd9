"""Load perception weights from one safetensors file in a folder: complete or not at all, never a pickle."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from data_specs.errors import ModelError
from models.device import network_device

if TYPE_CHECKING:
    # Not for the networks that come without transformers: its import takes seconds.
    from transformers import PreTrainedModel
    from transformers.image_processing_utils import BaseImageProcessor

FILE_NAME = "model.safetensors"
SHIPPED = Path(__file__).parents[1] / "weights" / "perception"
"""Folders of the tiny models."""


def load_weights(module: nn.Module, folder: Path, convert: str) -> dict[str, str]:
    """Fill a module with a folder's weights, as float32, in evaluation mode, frozen, on ``network_device``.

    Args:
        module: Built in the sizes of the weights.
        folder: Holds ``model.safetensors``.
        convert: The command for a published file that is a pickle, for the error message.

    Returns:
        The file's metadata.

    Raises:
        ModelError: If the file is missing, or does not hold exactly this network's weights.
    """
    notes, tensors = _read(folder, convert)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{folder / FILE_NAME}: these are weights of another network ({first}); choose the "
            "matching size or folder"
        ) from error
    module.eval().requires_grad_(False).to(network_device())
    return notes


def read_notes(folder: Path, convert: str) -> dict[str, str]:
    """The metadata of a folder's weights. Raises as ``load_weights`` does."""
    return _read(folder, convert)[0]


def _read(folder: Path, convert: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    path = folder / FILE_NAME
    if not path.is_file():
        raise ModelError(f"{path}: is missing; {convert}")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: the weights are damaged ({error}); download or train them again"
        ) from error


def weights_bytes(module: nn.Module, notes: dict[str, str] | None = None) -> bytes:
    """A module's weights as a safetensors file. Floats become float16, precise enough for these networks."""
    return save(
        {
            name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in module.state_dict().items()
        },
        metadata=notes,
    )


def pretrained_files(model: "PreTrainedModel", preparation: "BaseImageProcessor") -> dict[str, bytes]:
    """The content of the files that ``from_pretrained`` reads, by name: float16 weights, and two configs."""
    return {
        FILE_NAME: weights_bytes(model, {"format": "pt"}),
        "config.json": model.config.to_json_string().encode(),
        "preprocessor_config.json": preparation.to_json_string().encode(),
    }
