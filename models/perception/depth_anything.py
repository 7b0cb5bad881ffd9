"""Estimate each pixel's depth in metres with Depth Anything in transformers' classes (papers.md, fact 14)."""

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import DepthAnythingConfig as DepthAnythingSizes
from transformers import DepthAnythingForDepthEstimation, Dinov2Config

from data_specs.arrays import Depth, RgbImage
from data_specs.errors import ModelError
from data_specs.keys import derive_key
from models.images.backbones import folder_fingerprint, load_backbone, load_preparation
from models.perception.weights import SHIPPED

TINY_PX = 96
"""Side of the square that the tiny model sees."""

_SKY_FROM_M = 100.0
"""If the network predicts inverse depth, everything farther than this is sky."""
_INVERSE_METRES = "1/m"


class DepthAnythingConfig(BaseModel):
    """Which Depth Anything model to use."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["depth_anything"] = "depth_anything"
    weights: Path = Field(
        default=SHIPPED / "depth_anything",
        description="Folder with config.json, preprocessor_config.json and safetensors. The default is "
        "tiny and shipped. The full model is "
        "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf, or Indoor. Relative "
        "checkpoints have no unit and are refused.",
    )


class DepthAnythingEstimator:
    """A DepthEstimator in metres along the view axis, for images of any size.

    The tiny model predicts inverse depth, which is 0 where the sky begins. A published metric model predicts
    depth up to its maximum (20 m indoors, 80 m outdoors). It has no sky: none of its depths is inf.
    """

    def __init__(self, config: DepthAnythingConfig) -> None:
        """Load the model.

        Raises:
            ModelError: If the folder does not hold a whole Depth Anything model, or its output has no unit.
        """
        self._model = load_backbone(DepthAnythingForDepthEstimation, config.weights)
        self._prepare = load_preparation(config.weights)
        self._inverse = self._model.config.depth_estimation_type == "relative"
        if self._inverse and getattr(self._model.config, "depth_unit", None) != _INVERSE_METRES:
            raise ModelError(
                f"{config.weights}: this Depth Anything estimates relative depth without a unit; use a "
                "metric checkpoint (Depth-Anything-V2-Metric-…)"
            )
        self._hash = derive_key("depth anything", folder_fingerprint(config.weights))

    @property
    def model_hash(self) -> str:
        """Names weights, sizes and preparation."""
        return self._hash

    @torch.inference_mode()
    def estimate(self, source: RgbImage) -> Depth:
        """See ``DepthEstimator.estimate``. Metres along the view axis, H×W float32."""
        shown = self._prepare(images=[source], return_tensors="pt", input_data_format="channels_last")
        pixels = shown["pixel_values"].to(self._model.device)
        predicted = self._model(pixel_values=pixels).predicted_depth[0].cpu().numpy()
        size = (source.shape[1], source.shape[0])
        resized = np.asarray(cv2.resize(predicted, size, interpolation=cv2.INTER_LINEAR), np.float32)
        if not self._inverse:
            return resized
        near = resized > 1 / _SKY_FROM_M
        return np.where(near, 1 / np.where(near, resized, 1), np.inf).astype(np.float32)


def tiny_depth_anything() -> DepthAnythingForDepthEstimation:
    """Build the model from transformers' classes at 0.9 million parameters, untrained. It predicts 1/m."""
    # transformers reads the one and stores the other, but declares neither.
    tapped: dict[str, Any] = {"out_indices": [1, 2, 3, 4]}
    facts: dict[str, Any] = {"depth_unit": _INVERSE_METRES}
    encoder = Dinov2Config(
        image_size=TINY_PX,
        patch_size=8,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        mlp_ratio=2,
        reshape_hidden_states=False,
        **tapped,
    )
    sizes = DepthAnythingSizes(
        backbone_config=encoder,
        patch_size=8,
        reassemble_hidden_size=128,
        neck_hidden_sizes=[24, 32, 48, 64],
        fusion_hidden_size=32,
        head_hidden_size=16,
        **facts,
    )
    return DepthAnythingForDepthEstimation(sizes)
