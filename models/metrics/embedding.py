"""Measure CLIP and DINO similarity: the cosine between the embeddings of removal and ground truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, CLIPVisionModelWithProjection, Dinov2Model, ViTModel

from data_specs.arrays import RgbImage
from data_specs.errors import ModelError
from data_specs.metric import MetricSpec, RemovedImage
from models.images.backbones import folder_fingerprint, load_backbone, load_preparation

_DINO_CLASSES = {"dinov2": Dinov2Model, "vit": ViTModel}
"""Classes by the config's model_type: DINOv2, and the first DINO, which transformers reads as a plain ViT."""

CLIP = MetricSpec(
    "clip",
    "CLIP",
    "",
    "higher",
    3,
    "Cosine of the CLIP image embeddings of removal and ground truth (1 = equal). It cannot "
    "be compared with RORem's column of 22 to 23, which is on another scale.",
)
DINO = MetricSpec(
    "dino",
    "DINO",
    "",
    "higher",
    3,
    "Cosine of DINO's class tokens, after the last norm, of removal and ground truth.",
)


@dataclass(frozen=True, slots=True)
class EmbeddingSimilarity:
    """A Metric: cosine of two embeddings, -1 to 1."""

    spec: MetricSpec
    fingerprint: str
    embed: Callable[[Sequence[RgbImage]], Tensor]
    """N images H×W×3 uint8 → N×D float."""

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """See ``Metric.measure``."""
        removals = self.embed([image.removal for image in images])
        truths = self.embed([image.ground_truth for image in images])
        return torch.nn.functional.cosine_similarity(removals.double(), truths.double()).tolist()


def clip_similarity(folder: Path) -> EmbeddingSimilarity:
    """CLIP similarity with the model in a folder. A whole CLIPModel works too.

    Raises:
        ModelError: If the model cannot be read, or is incomplete.
    """
    model, prepare = load_backbone(CLIPVisionModelWithProjection, folder), load_preparation(folder)

    @torch.no_grad()
    def embed(images: Sequence[RgbImage]) -> Tensor:
        pixels = prepare(list(images), return_tensors="pt")["pixel_values"].to(model.device)
        return model(pixel_values=pixels).image_embeds.cpu()

    return EmbeddingSimilarity(CLIP, folder_fingerprint(folder), embed)


def dino_similarity(folder: Path) -> EmbeddingSimilarity:
    """DINO similarity with the DINO or DINOv2 model in a folder.

    Raises:
        ModelError: If the model is of another kind, cannot be read, or is incomplete.
    """
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder}: has no config.json that transformers can read; download the model again"
        ) from error
    if kind not in _DINO_CLASSES:
        raise ModelError(f"{folder}: holds a {kind}; put a DINO there ({' or '.join(_DINO_CLASSES)})")
    # DINO has no pooler. Published folders lack it, and the class token does not need it.
    model = load_backbone(_DINO_CLASSES[kind], folder, may_lack=["pooler."])
    prepare = load_preparation(folder)

    @torch.no_grad()
    def embed(images: Sequence[RgbImage]) -> Tensor:
        pixels = prepare(list(images), return_tensors="pt")["pixel_values"].to(model.device)
        return model(pixel_values=pixels).last_hidden_state[:, 0].cpu()

    return EmbeddingSimilarity(DINO, folder_fingerprint(folder), embed)
