"""Small random checkpoints in the layouts in which the real ones are published, each in a second or two."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
)
from transformers import DepthAnythingConfig as DepthAnythingSizes

from models.perception.grounding_dino import tiny_grounding_dino, tiny_tokenizer
from models.perception.mask2former import tiny_mask2former
from models.perception.sam import SIZES, build_sam
from models.perception.weights import SHIPPED
from models.perception.yolo import build_yolo

WORDS = ("remove", "the", "instance", "of", "object")
"""Whole tokens of the small tokenizer. Other words become letters."""
TOKEN_WIDTH, PROJECTION = 40, 24
_ADE20K = ("wall", "building", "sky", "floor", "tree", "ceiling", "road, route", "bed", "windowpane", "grass")


def sdxl_inpainting(folder: Path, variant: str | None = None, size_px: int = 512) -> Path:
    """SDXL-inpainting's folder as diffusers publishes it.

    Args:
        folder: Made here.
        variant: None, or ``fp16`` for half-precision files of that name only.
        size_px: Side at which the network works.

    Returns:
        The folder.
    """
    torch.manual_seed(0)
    vocabulary = clip_tokenizer(folder / "tokenizer")
    clip_tokenizer(folder / "tokenizer_2")
    words = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    texts = [
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            projection_dim=PROJECTION,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
        for width in (16, TOKEN_WIDTH - 16)
    ]
    pipeline = StableDiffusionXLInpaintPipeline(
        vae=small_vae(),
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=words,
        tokenizer_2=words,
        unet=small_unet(size_px),
        scheduler=cast(Any, EulerDiscreteScheduler)(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
    )
    if variant:
        pipeline.to(torch.float16)
    kept = {name: (folder / name).rename(folder / f"{name}.kept") for name in ("tokenizer", "tokenizer_2")}
    pipeline.save_pretrained(folder, safe_serialization=True, variant=variant)
    for name, place in kept.items():  # what save_pretrained writes today is not what was published
        shutil.rmtree(folder / name)
        place.rename(folder / name)
    return folder


def small_unet(size_px: int = 512, in_channels: int = 9) -> UNet2DConditionModel:
    """SDXL's three levels, a hundred thousand numbers."""
    return UNet2DConditionModel(
        sample_size=size_px // 8,
        in_channels=in_channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TOKEN_WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=PROJECTION + 6 * 8,
    )


def small_vae() -> AutoencoderKL:
    """SDXL's VAE: 8 pixels a cell, 4 channels, and float32 even in half precision."""
    return cast(Any, AutoencoderKL)(
        block_out_channels=(4, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.13025,
        force_upcast=True,
    )


def clip_tokenizer(folder: Path) -> int:
    """Write a CLIP tokenizer in the files of 2023: letters, ``WORDS`` as whole tokens, and two signs.

    Returns:
        The number of tokens.
    """
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(97, 123)]
    tokens, merges = [*letters, *(f"{letter}</w>" for letter in letters)], list[str]()
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        start = pieces[0]
        for piece in pieces[1:]:
            if f"{start} {piece}" not in merges:
                merges.append(f"{start} {piece}")
                tokens.append(start + piece)
            start += piece
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    signs = {
        "bos_token": tokens[-2],
        "eos_token": tokens[-1],
        "unk_token": tokens[-1],
        "pad_token": tokens[-1],
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(signs))
    settings = {**signs, "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(tokens)


def clip(folder: Path) -> Path:
    """A whole CLIP, as openai/clip-vit-large-patch14 is published."""
    torch.manual_seed(1)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=PROJECTION,
    )
    text = CLIPTextConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=PROJECTION,
        bos_token_id=48,
        eos_token_id=49,
    )
    sizes = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=PROJECTION)
    CLIPModel(sizes).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=side).save_pretrained(folder)
    return folder


class ReleasedMLP(nn.Module):
    """A part of the released object token, by its released names."""

    def __init__(self, width: int, out: int, adds: bool) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, out), nn.Linear(out, out)
        self.adds = adds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc2(nn.functional.gelu(self.fc1(self.layernorm(x))))
        return x + y if self.adds else y


class ReleasedToken(nn.Module):
    """The released object token: an MLP, an MLP that is added to its input, a norm."""

    def __init__(self, embedding: int, token: int) -> None:
        super().__init__()
        self.mlp1, self.mlp2 = ReleasedMLP(embedding, token, False), ReleasedMLP(token, token, True)
        self.layer_norm = nn.LayerNorm(token)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.layer_norm(self.mlp2(self.mlp1(embedding)))


def object_clear(folder: Path, size_px: int = 512) -> Path:
    """ObjectClear's folder as its authors released it."""
    sdxl_inpainting(folder, size_px=size_px)
    clip(folder / "image_prompt_encoder")
    torch.manual_seed(2)
    token = ReleasedToken(PROJECTION, TOKEN_WIDTH)
    (folder / "postfuse_module").mkdir()
    save_file(token.state_dict(), folder / "postfuse_module" / "model.safetensors")
    return folder


def released_head(channels: int, width: int) -> nn.Sequential:
    """The head of RORem's released discriminator."""
    layers: list[nn.Module] = []
    for stride, padding in ((2, 1), (2, 1), (4, 0)):
        layers += [nn.Conv2d(channels, width, 4, stride, padding), nn.GroupNorm(32, width), nn.SiLU()]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 1))


def rorem_discriminator(folder: Path) -> Path:
    """RORem's discriminator as its authors released it, for the U-Net of ``sdxl_inpainting``."""
    torch.manual_seed(3)
    unet = small_unet()
    unet.up_blocks = nn.ModuleList()
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=4, target_modules=targets), unet, "default")
    lora = get_peft_model_state_dict(cast(Any, unet), adapter_name="default")
    signs = {"lora_A": "lora.down", "lora_B": "lora.up"}
    named = {}
    for name, tensor in lora.items():
        for ours, theirs in signs.items():
            name = name.replace(ours, theirs)
        named[f"unet.{name}"] = torch.randn_like(tensor) * 0.1
    folder.mkdir(parents=True)
    save_file(named, folder / "pytorch_lora_weights.safetensors")
    head = {f"cls_pred_branch.{name}": tensor for name, tensor in released_head(32, 32).state_dict().items()}
    torch.save(head, folder / "cls_pred_branch.pt")
    return folder


def sam(folder: Path) -> Path:
    """SAM's pickle of tensors, at the shipped size. ``cleanplate model convert sam`` reads it."""
    torch.manual_seed(4)
    folder.mkdir(parents=True)
    torch.save(build_sam(SIZES["tiny"]).state_dict(), folder / "sam_tiny.pth")
    return folder


def yolo(folder: Path) -> Path:
    """YOLO11's pickle of a network in half precision, at the shipped size. It needs the extra `yolo`."""
    torch.manual_seed(5)
    folder.mkdir(parents=True)
    network = build_yolo("tiny", 3)
    cast(Any, network).names = {0: "person", 1: "car", 2: "chair"}
    del network.args
    content = {"epoch": -1, "model": None, "ema": network.half(), "train_args": {}}
    torch.save(content, folder / "yolo11_tiny.pt")
    return folder


def mask2former(folder: Path) -> Path:
    """Mask2Former with ADE20K's 150 classes, as facebook/mask2former-swin-large-ade-semantic is published."""
    torch.manual_seed(6)
    sizes = tiny_mask2former().config
    sizes.id2label = {number: f"thing {number}" for number in range(150)} | dict(enumerate(_ADE20K))
    sizes.label2id = {name: number for number, name in sizes.id2label.items()}
    type(tiny_mask2former())(sizes).save_pretrained(folder)
    shutil.copy(SHIPPED / "mask2former" / "preprocessor_config.json", folder)
    return folder


def depth_anything(folder: Path, kind: str = "metric") -> Path:
    """Depth Anything V2 in metres, as …-Metric-Outdoor-Large-hf is published; or ``relative``, without."""
    torch.manual_seed(7)
    tapped: dict[str, Any] = {"out_indices": [1, 2, 3, 4]}
    encoder = Dinov2Config(
        image_size=28,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        reshape_hidden_states=False,
        **tapped,
    )
    sizes = DepthAnythingSizes(
        backbone_config=encoder,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
        depth_estimation_type=kind,
        max_depth=80,
    )
    DepthAnythingForDepthEstimation(sizes).save_pretrained(folder)
    shutil.copy(SHIPPED / "depth_anything" / "preprocessor_config.json", folder)
    return folder


def grounding_dino(folder: Path) -> Path:
    """Grounding DINO with its tokenizer, as IDEA-Research/grounding-dino-tiny is published."""
    torch.manual_seed(8)
    tokenizer = tiny_tokenizer(["sphere", "box", "cylinder", "cone", "person", "car", "chair"])
    tiny_grounding_dino(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copy(SHIPPED / "grounding_dino" / "preprocessor_config.json", folder)
    return folder
