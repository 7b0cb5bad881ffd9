"""Read ObjectClear as its authors released it (papers.md, fact 16): a pipeline's folder with two parts more.

``image_prompt_encoder/`` is a whole CLIP. ``postfuse_module/`` is the MLP of the object token, without
settings. The rest is SDXL inpainting's. Only the names of files and tensors are theirs; the classes are ours.
"""

from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from data_specs.errors import ModelError, first_line
from models.diffusion.published import read_encoder, read_part, variant_in
from models.diffusion.sdxl import check_sdxl_inpainting, embedded, published_schedule
from models.objectclear.network import PROMPT, ObjectClearNetwork, ObjectPrompt, ObjectTokenMLP

RELEASED_TOKEN = "postfuse_module"
"""The part that only the authors' folder has."""
_ENCODER = "image_prompt_encoder"
_OURS = {
    **{f"mlp1.{theirs}": f"project.{ours}" for theirs, ours in (("layernorm", 0), ("fc1", 1), ("fc2", 3))},
    **{f"mlp2.{theirs}": f"refine.{ours}" for theirs, ours in (("layernorm", 0), ("fc1", 1), ("fc2", 3))},
    "layer_norm": "norm",
}
"""The released names of the object token's layers, and ours."""


def read_released_object_clear(folder: Path) -> ObjectClearNetwork:
    """Read the released network, plain or fp16, as float32. The text encoders run once, on ``PROMPT``.

    Raises:
        ModelError: If a part is missing, damaged or of another network. The message names the folder.
    """
    check_sdxl_inpainting(folder)
    if not (folder / _ENCODER).is_dir():
        raise ModelError(f"{folder}: has no {_ENCODER}; download the whole folder of ObjectClear")
    token = _object_token(folder / RELEASED_TOKEN)
    prompt = embedded(folder, PROMPT)
    encoder = read_encoder(CLIPVisionModelWithProjection, folder / _ENCODER)
    unet = read_part(UNet2DConditionModel, folder / "unet")
    wanted = (encoder.config.projection_dim, unet.config["cross_attention_dim"])
    built = (token.config["embedding_dim"], token.config["token_dim"])
    if wanted != built:
        raise ModelError(
            f"{folder}: its object token turns {built[0]} numbers into {built[1]}, where {wanted[0]} into "
            f"{wanted[1]} are needed; the parts are of different networks, download all of them again"
        )
    return ObjectClearNetwork(
        unet=unet,
        vae=read_part(AutoencoderKL, folder / "vae"),
        scheduler=published_schedule(folder / "scheduler"),
        prompt=ObjectPrompt(hidden=prompt.hidden, pooled=prompt.pooled),
        image_encoder=encoder,
        object_token=token,
    )


def _object_token(folder: Path) -> ObjectTokenMLP:
    suffix = ".fp16" if variant_in(folder, "model") else ""
    path = folder / f"model{suffix}.safetensors"
    try:
        tensors = {_renamed(name): tensor.float() for name, tensor in load_file(path).items()}
        token = ObjectTokenMLP(*_widths(tensors["project.1.weight"]))
        token.load_state_dict(tensors)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path}: is not the MLP of ObjectClear's object token ({first_line(error)}); download it again"
        ) from error
    return token


def _renamed(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{_OURS[layer]}.{kind}"


def _widths(first: Tensor) -> tuple[int, int]:
    """The MLP's input and output, from the shape of its first layer."""
    return first.shape[1], first.shape[0]
