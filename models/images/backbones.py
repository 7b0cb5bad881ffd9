"""Load feature backbones of metrics: transformers' classes from a local folder, never incomplete."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors import SafetensorError
from transformers import AutoImageProcessor, PreTrainedModel
from transformers.utils import logging

from data_specs.errors import ModelError, first_line
from models.device import network_device

Backbone = TypeVar("Backbone", bound=PreTrainedModel)


def load_backbone(kind: type[Backbone], folder: Path, may_lack: Sequence[str] = ()) -> Backbone:
    """Load a model in evaluation mode, float32, on ``network_device``, all weights from safetensors.

    Args:
        kind: The class of transformers. A folder with a larger model that contains it works too.
        folder: Written by ``save_pretrained``: config.json and safetensors.
        may_lack: Prefixes of weight names that the metric does not use.

    Raises:
        ModelError: If the folder does not hold such a model, or not all of it. transformers would fill
            missing weights with random numbers, and the metric would be false.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, loading = cast(
            "tuple[Backbone, dict[str, Any]]",
            kind.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True, dtype="float32"
            ),
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: no {kind.__name__} can be read from it ({first_line(error)}); download it again"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
    absent = sorted(name for name in loading["missing_keys"] if not name.startswith(tuple(may_lack)))
    if absent:
        raise ModelError(
            f"{folder}: {len(absent)} weights of the {kind.__name__} are missing, such as {absent[0]}; "
            "save the whole model there"
        )
    return cast(Any, model.eval().requires_grad_(False)).to(network_device())


def load_preparation(folder: Path) -> Any:
    """Load the folder's image processor, on Pillow. transformers' default would be torchvision's resize.

    Raises:
        ModelError: If the folder has no preprocessor_config.json that transformers knows.
    """
    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder}: its preprocessor_config.json cannot be used ({first_line(error)}); download it again"
        ) from error


def folder_fingerprint(folder: Path) -> str:
    """20 hexadecimal digits of the names and bytes of a folder's JSON and safetensors files."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:20]
