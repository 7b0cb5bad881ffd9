"""Classify each pixel's surface with Mask2Former in transformers' classes (papers.md, fact 14)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import Mask2FormerConfig as Mask2FormerSizes
from transformers import Mask2FormerForUniversalSegmentation, SwinConfig

from data_specs.arrays import RgbImage
from data_specs.detection import ClassMap, SurfaceClass
from data_specs.errors import ModelError
from data_specs.keys import derive_key
from models.images.backbones import folder_fingerprint, load_backbone, load_preparation
from models.perception.weights import SHIPPED

# The surface that a class name means: ADE20K's 150 classes, and the tiny model's own four (fact 14).

_NAMES: dict[SurfaceClass, tuple[str, ...]] = {
    SurfaceClass.GROUND: (
        *("ground", "road", "floor", "grass", "sidewalk", "earth", "field", "sand", "path", "runway"),
        *("dirt track", "land", "rug"),
    ),
    SurfaceClass.WALL: (
        *("wall", "building", "ceiling", "mountain", "house", "skyscraper", "hill", "tower", "hovel"),
        *("door", "windowpane", "window", "curtain", "fence", "railing", "tree", "bridge", "column"),
    ),
    SurfaceClass.SKY: ("sky",),
}
_SURFACES = {name: surface for surface, names in _NAMES.items() for name in names}


def surfaces_of(labels: Mapping[int, str]) -> list[SurfaceClass]:
    """The surface of each of a model's classes, in the order of their numbers. Unlisted classes are OBJECT.

    Water, stairs and furniture are objects here: nothing can stand on them as it stands on flat ground.

    Args:
        labels: ``id2label`` of transformers' config. Of synonyms ("road, route") the first one counts.

    Raises:
        ModelError: If no class is ground. The labels are then not those of a scene segmenter.
    """
    first = [re.split("[,;]", labels[number])[0].strip().lower() for number in sorted(labels)]
    surfaces = [_SURFACES.get(name, SurfaceClass.OBJECT) for name in first]
    if SurfaceClass.GROUND not in surfaces:
        raise ModelError(
            f"none of the model's {len(first)} classes is ground ({', '.join(first[:4])} …); use a "
            "semantic segmentation checkpoint trained on ADE20K"
        )
    return surfaces


TINY_PX = 128
"""Side of the square that the tiny model sees."""


class Mask2FormerConfig(BaseModel):
    """Which Mask2Former model to use."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["mask2former"] = "mask2former"
    weights: Path = Field(
        default=SHIPPED / "mask2former",
        description="Folder with config.json, preprocessor_config.json and safetensors. The default is "
        "tiny and shipped. The full model is facebook/mask2former-swin-large-ade-semantic.",
    )


class Mask2FormerSegmenter:
    """A GroundSegmenter, for images of any size."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        """Load the model.

        Raises:
            ModelError: If the folder does not hold a whole Mask2Former model, or none of its classes is
                ground.
        """
        self._model = load_backbone(Mask2FormerForUniversalSegmentation, config.weights)
        self._prepare = load_preparation(config.weights)
        labels = self._model.config.id2label or {}
        self._surfaces = surfaces_of({int(number): name for number, name in labels.items()})
        self._hash = derive_key("mask2former", folder_fingerprint(config.weights))

    @property
    def model_hash(self) -> str:
        """Names weights, sizes and preparation."""
        return self._hash

    @torch.inference_mode()
    def classify(self, source: RgbImage) -> ClassMap:
        """See ``GroundSegmenter.classify``.

        Scores of synonyms are added before the best surface is chosen.
        """
        shown = self._prepare(images=[source], return_tensors="pt", input_data_format="channels_last")
        output = self._model(pixel_values=shown["pixel_values"].to(self._model.device))
        scores = class_scores(output.class_queries_logits, output.masks_queries_logits)[0].cpu().numpy()
        height, width = source.shape[:2]
        large = [
            cv2.resize(scores_of_image, (width, height), interpolation=cv2.INTER_LINEAR)
            for scores_of_image in self._added_up(scores)
        ]
        return np.argmax(np.stack(large), axis=0).astype(np.uint8)

    def _added_up(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """K×h×w scores of classes → 4×h×w scores of surfaces."""
        total = np.zeros((len(SurfaceClass), *scores.shape[1:]), np.float32)
        for surface, score in zip(self._surfaces, scores, strict=True):
            total[surface] += score
        return total


def class_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Mask2Former's semantic inference: each query votes for its classes where its mask lies.

    Args:
        class_logits: B×Q×(K+1), the last class is "nothing".
        mask_logits: B×Q×h×w.

    Returns:
        B×K×h×w, at least 0.
    """
    votes = class_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqk,bqhw->bkhw", votes, mask_logits.sigmoid())


def tiny_mask2former() -> Mask2FormerForUniversalSegmentation:
    """Build the model from transformers' classes at 1.1 million parameters, untrained, for SurfaceClass."""
    # transformers takes it, but does not declare it.
    tapped: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    swin = SwinConfig(
        image_size=TINY_PX,
        embed_dim=24,
        depths=[2, 2, 2, 2],
        num_heads=[2, 4, 4, 8],
        window_size=4,
        mlp_ratio=2.0,
        drop_path_rate=0.0,
        **tapped,
    )
    sizes = Mask2FormerSizes(
        backbone_config=swin,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=128,
        dim_feedforward=128,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=4,
        num_queries=6,
        train_num_points=1024,
        id2label={surface.value: surface.name.lower() for surface in SurfaceClass},
    )
    return Mask2FormerForUniversalSegmentation(sizes)
