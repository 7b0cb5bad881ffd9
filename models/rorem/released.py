"""Convert RORem's discriminator as its authors released it into a folder of ours (papers.md, fact 5).

They release two files: ``pytorch_lora_weights.safetensors`` for the down and mid blocks, and the pickle
``cls_pred_branch.pt`` for the head. The pickle is read in a process that can open nothing else. Only names of
files and tensors are theirs.
"""

import json
import math
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from data_specs.errors import InputError, first_line
from models.perception.convert import read_published
from models.rorem.discriminator import FACTS_FILE, WEIGHTS_FILE, DiscriminatorConfig

_LORA_FILE, _HEAD_FILE = "pytorch_lora_weights.safetensors", "cls_pred_branch.pt"
_HEAD = "cls_pred_branch."
_LORA = re.compile(
    r"(?:unet\.)?((?:down_blocks|mid_block)\..+)\.(?:lora_(A|B)|lora\.(down|up))(?:\.default)?\.weight"
)
"""A LoRA's tensor in peft's names and in diffusers'."""
_UP_BLOCKS = re.compile(r"(?:unet\.)?up_blocks\.")
"""The release trains none that count: the head sits on the mid block."""
_HALF, _SURE = 0.5, 0.9
"""The release's threshold, and the paper's (facts 3 and 5). Both are scores by softplus."""


def convert_discriminator(released: Path, folder: Path) -> None:
    """Write a discriminator's folder of ours, to be used with SDXL-inpainting as its backbone.

    With its calibration the released scores .5 and .9 become the probabilities .5 and .9. It is a start:
    `cleanplate train discriminator` calibrates on reviews.

    Args:
        released: Holds the two files.
        folder: Created if it does not exist.

    Raises:
        InputError: If a file is missing, damaged or holds something else.
    """
    tensors = {**_lora(released / _LORA_FILE), **_head(released / _HEAD_FILE)}
    rank = min(min(tensor.shape) for name, tensor in tensors.items() if ".lora_A." in name)
    config = DiscriminatorConfig(
        lora_rank=rank, lora_alpha=rank, head="paper", head_width=len(tensors["head.layers.0.bias"])
    )
    slope, offset = softplus_calibration()
    facts = {"config": config.model_dump(), "slope": slope, "offset": offset}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1, sort_keys=True))


def softplus_calibration() -> tuple[float, float]:
    """Slope and offset with which sigmoid(slope · z + offset) is .5 and .9 where softplus(z) is."""
    half, sure = (math.log(math.expm1(score)) for score in (_HALF, _SURE))
    slope = math.log(_SURE / (1 - _SURE)) / (sure - half)
    return slope, -slope * half


def _lora(path: Path) -> dict[str, Tensor]:
    """The LoRA's tensors, by the names of ``DiscriminatorNetwork``."""
    try:
        given = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            path, f"cannot be read as safetensors ({first_line(error)}); give RORem's folder as released"
        ) from error
    tensors: dict[str, Tensor] = {}
    for name, tensor in given.items():
        if _UP_BLOCKS.match(name) or name.endswith(".alpha"):
            continue
        parts = _LORA.fullmatch(name)
        if parts is None:
            raise InputError(
                path, f"holds {name}, which is no LoRA of a U-Net; give RORem's folder as released"
            )
        side = "A" if "A" in parts.groups() or "down" in parts.groups() else "B"
        tensors[f"backbone.{parts[1]}.lora_{side}.judge.weight"] = tensor.float().contiguous()
    if not tensors:
        raise InputError(path, "holds no LoRA of down and mid blocks; give RORem's folder as released")
    return tensors


def _head(path: Path) -> dict[str, Tensor]:
    given = load(read_published("tensors", path))
    tensors = {
        f"head.layers.{name.removeprefix('module.').removeprefix(_HEAD)}": tensor
        for name, tensor in given.items()
        if name.removeprefix("module.").startswith(_HEAD)
    }
    wanted = {
        f"head.layers.{number}.{kind}" for number in (0, 1, 3, 4, 6, 7, 9) for kind in ("weight", "bias")
    }
    if set(tensors) != wanted:
        odd = min(wanted ^ set(tensors))
        raise InputError(path, f"is not RORem's head: {odd} differs; give the file as released")
    return tensors
