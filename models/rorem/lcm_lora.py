"""Distil a remover with LCM-LoRA: make the student's U-Net, save the LoRA, and load the fast remover."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from peft import LoraConfig, get_peft_model_state_dict
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from data_specs.errors import ModelError
from models.diffusion.inpainting import InpaintingNetwork

LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for."""
_TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
)
"""Attention, feed-forward and convolutions, as in public LCM-LoRAs for SDXL."""
_ADAPTER = "lcm"


class LcmLoraConfig(BaseModel):
    """The LoRA's shape."""

    model_config = ConfigDict(frozen=True)

    rank: int = Field(default=64, ge=1, le=512, description="Rank and alpha of the LoRA (RORem: 64).")


def student_of(teacher: UNet2DConditionModel, config: LcmLoraConfig, seed: int) -> UNet2DConditionModel:
    """A U-Net that starts as the teacher and trains only a LoRA.

    Its other weights are the teacher's own tensors, frozen. A second U-Net therefore needs no second memory.

    Args:
        teacher: It is frozen, and otherwise not changed.
        config: The LoRA's shape.
        seed: Seed of its first weights.
    """
    teacher.requires_grad_(False)
    shared = {id(tensor): tensor for tensor in (*teacher.parameters(), *teacher.buffers())}
    student = copy.deepcopy(teacher, shared)
    lora = LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=list(_TARGETS))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student.add_adapter(lora, adapter_name=_ADAPTER)
    return student


def save_lora(student: UNet2DConditionModel, folder: Path) -> None:
    """Write ``folder``/pytorch_lora_weights.safetensors, for ``pipe.load_lora_weights(folder)``."""
    # peft's own names are kept: diffusers' converter loses the layers of attention.
    layers = cast(dict[str, Any], get_peft_model_state_dict(cast(Any, student), adapter_name=_ADAPTER))
    StableDiffusionXLInpaintPipeline.save_lora_weights(folder, unet_lora_layers=layers)


def with_lcm_lora(network: InpaintingNetwork, folder: Path) -> InpaintingNetwork:
    """The network with a LoRA merged into its U-Net, and LCM's schedule in place of DDIM's.

    Args:
        network: It is not changed.
        folder: Holds an LCM-LoRA of this kind of network, from ``save_lora`` or from others.

    Raises:
        ModelError: If there is no LoRA, or it belongs to another network.
    """
    path = folder / LORA_FILE
    if not path.is_file():
        raise ModelError(f"{path}: holds no LoRA; run `cleanplate train distilled`")
    unet = copy.deepcopy(network.unet)
    try:
        with safe_open(path, framework="pt") as file:
            given = {name.removeprefix("unet.") for name in file.keys()}  # noqa: SIM118 - it is no dict
        unet.load_lora_adapter(folder, prefix="unet", weight_name=LORA_FILE, adapter_name=_ADAPTER)
    except (KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{path}: this LoRA is of another network ({error}); use its own teacher") from error
    taken = {name.replace(f".{_ADAPTER}.", ".") for name, _ in unet.named_parameters() if ".lora_" in name}
    if taken != given:
        raise ModelError(
            f"{path}: this LoRA is of another network ({min(taken ^ given)} is missing in one of "
            "them); use its own teacher"
        )
    unet.fuse_lora()
    unet.unload_lora()
    return replace(network, unet=unet, scheduler=lcm_schedule(network))


def lcm_schedule(network: InpaintingNetwork) -> LCMScheduler:
    """LCM's schedule over the network's own noise levels."""
    same = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    settings = {name: network.scheduler.config[name] for name in (*same, "prediction_type")}
    return LCMScheduler(**settings)
