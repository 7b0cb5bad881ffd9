"""Read one part of a published folder: plain or fp16 files, one or sharded, every weight, or a sentence."""

from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging

from data_specs.errors import ModelError, first_line

Part = TypeVar("Part", bound=ModelMixin)
Encoder = TypeVar("Encoder", bound=PreTrainedModel)

FAULTS = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError)
"""What diffusers and transformers raise for a folder that they cannot read."""
_DIFFUSERS, _TRANSFORMERS = "diffusion_pytorch_model", "model"


def variant_in(folder: Path, stem: str) -> str | None:
    """The variant of a part's safetensors: None for plain files, which are preferred, or ``fp16``.

    Args:
        folder: Such as unet/.
        stem: Beginning of the files' names.

    Raises:
        ModelError: If the folder holds neither.
    """
    plain = (f"{stem}.safetensors", f"{stem}.safetensors.index.json")
    half = (f"{stem}.fp16.safetensors", f"{stem}.safetensors.index.fp16.json")
    for variant, names in ((None, plain), ("fp16", half)):
        if any((folder / name).is_file() for name in names):
            return variant
    raise ModelError(
        f"{folder}: holds neither {plain[0]} nor {half[0]}; download the folder with safetensors"
    )


def read_part(kind: type[Part], folder: Path) -> Part:
    """A part in diffusers' classes, in float32, with every weight from the folder.

    Raises:
        ModelError: If weights are missing, damaged or of another shape.
    """
    variant = variant_in(folder, _DIFFUSERS)
    try:
        part, loading = cast(
            "tuple[Part, dict[str, Any]]",
            cast(Any, kind).from_pretrained(
                folder,
                use_safetensors=True,
                variant=variant,
                torch_dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            ),
        )
    except FAULTS as error:
        raise ModelError(f"{folder}: no {kind.__name__} can be read from it ({_why(error)})") from error
    _refuse_missing(folder, kind, loading)
    return part


def read_encoder(kind: type[Encoder], folder: Path) -> Encoder:
    """A text or image encoder in transformers' classes: float32, frozen, every weight from the folder.

    Raises:
        ModelError: If weights are missing, damaged or of another shape.
    """
    variant = variant_in(folder, _TRANSFORMERS)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # A whole CLIP holds more weights than its part, which is no fault.
    logging.disable_progress_bar()
    try:
        encoder, loading = cast(
            "tuple[Encoder, dict[str, Any]]",
            kind.from_pretrained(
                folder,
                use_safetensors=True,
                variant=variant,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            ),
        )
    except FAULTS as error:
        raise ModelError(f"{folder}: no {kind.__name__} can be read from it ({_why(error)})") from error
    finally:
        logging.set_verbosity(verbosity)
    _refuse_missing(folder, kind, loading)
    return encoder.eval().requires_grad_(False)


def _why(error: Exception) -> str:
    """The first sentence. diffusers adds advice for developers."""
    return first_line(error).split(". ")[0]


def _refuse_missing(folder: Path, kind: type, loading: dict[str, Any]) -> None:
    absent = sorted(loading["missing_keys"])
    if absent:
        raise ModelError(
            f"{folder}: {len(absent)} weights of the {kind.__name__} are missing, such as {absent[0]}; "
            "download the whole folder"
        )
