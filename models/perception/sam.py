"""Cut an object's mask from its box, and optionally from points on it, with SAM (papers.md, fact 11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from data_specs.arrays import Mask, RgbImage
from data_specs.detection import Box
from data_specs.keys import derive_key
from models.images.backbones import folder_fingerprint
from models.images.tensors import levels_to_tensor
from models.perception.geometry import ViewSquare, letterbox, view_square
from models.perception.weights import SHIPPED, load_weights

SamSize = Literal["tiny", "vit_b", "vit_l", "vit_h"]
Point = tuple[float, float]

FILL = (124, 116, 104)
"""SAM's mean colour, in whole levels."""
_ON_OBJECT, _NO_POINT = 1, -1
"""SAM's labels for a point on the object, and for padding if another box has more points."""
_SQUARES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class SamSizes:
    """The sizes of a SAM model, and which part of the image it sees."""

    image_px: int
    patch_px: int
    width: int
    depth: int
    heads: int
    global_at: tuple[int, ...]
    """Encoder blocks with global attention. The others attend inside windows."""
    window: int
    """Side of a window, in patches."""
    prompt_width: int
    decoder_heads: int
    decoder_mlp: int
    zoom: float | None
    """Side of the square around a box that the encoder sees, in longer sides of the box. None = the whole
    image."""


SIZES: dict[SamSize, SamSizes] = {
    "tiny": SamSizes(128, 8, 128, 4, 4, (1, 3), 8, 64, 4, 256, zoom=2.0),
    "vit_b": SamSizes(1024, 16, 768, 12, 12, (2, 5, 8, 11), 14, 256, 8, 2048, zoom=None),
    "vit_l": SamSizes(1024, 16, 1024, 24, 16, (5, 11, 17, 23), 14, 256, 8, 2048, zoom=None),
    "vit_h": SamSizes(1024, 16, 1280, 32, 16, (7, 15, 23, 31), 14, 256, 8, 2048, zoom=None),
}


class SamConfig(BaseModel):
    """Which SAM model to use."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["sam"] = "sam"
    size: SamSize = Field(
        default="tiny",
        description="Size of the network. tiny is shipped. The others are the published sizes.",
    )
    weights: Path = Field(
        default=SHIPPED / "sam", description="Folder with model.safetensors. Convert a published SAM first."
    )


@dataclass(frozen=True, slots=True)
class Prompts:
    """B boxes in a square's pixels, and K points for each."""

    boxes: Tensor
    """B×4 float: left, top, right, bottom."""
    points: Tensor
    """B×K×2 float, x and y. K may be 0."""
    labels: Tensor
    """B×K int: 1 = on the object, −1 = no point."""


class SamSegmenter:
    """A Segmenter, for images and boxes of any size."""

    def __init__(self, config: SamConfig) -> None:
        """Build and load the model.

        Raises:
            ModelError: If the folder does not hold the weights of this size.
        """
        self._sizes = SIZES[config.size]
        self._sam = build_sam(self._sizes)
        load_weights(
            self._sam, config.weights, "run `python -m models.perception.convert sam FILE.pth FOLDER` once"
        )
        self._hash = derive_key("sam", config.size, folder_fingerprint(config.weights))

    @property
    def model_hash(self) -> str:
        """Names size and weights."""
        return self._hash

    def segment(
        self, source: RgbImage, boxes: Sequence[Box], points: Sequence[Sequence[Point]] = ()
    ) -> list[Mask]:
        """See ``Segmenter.segment``. A mask never extends beyond the image."""
        asked = [(box, list(points[number]) if points else []) for number, box in enumerate(boxes)]
        if self._sizes.zoom is None:
            return self._on_whole(source, asked)
        return [mask for part in _parts(asked) for mask in self._on_squares(source, part, self._sizes.zoom)]

    @torch.inference_mode()
    def _on_whole(self, source: RgbImage, asked: Sequence[tuple[Box, list[Point]]]) -> list[Mask]:
        """Segment with one embedding of the whole image, as published."""
        if not asked:
            return []
        shown = letterbox(source, self._sizes.image_px, FILL)
        scale = np.array([shown.across, shown.down])
        inside = (round(shown.height * shown.down), round(shown.width * shown.across))
        # SAM pads after it subtracts the mean, so the padding is exactly 0. No fill with whole levels can
        # give that.
        square = levels_to_tensor([shown.square[: inside[0], : inside[1]]]).to(self._sam.device)
        embedding = embed(self._sam, square)
        masks: list[Mask] = []
        for part in _parts(asked):
            prompts = prompts_of([(_edges(box) * np.tile(scale, 2), _array(on) * scale) for box, on in part])
            logits, _ = decode(self._sam, embedding.expand(len(part), -1, -1, -1), prompts)
            logits = self._sam.postprocess_masks(logits, inside, (shown.height, shown.width))
            masks += list((logits[:, 0] > 0).cpu().numpy())
        return masks

    @torch.inference_mode()
    def _on_squares(
        self, source: RgbImage, asked: Sequence[tuple[Box, list[Point]]], zoom: float
    ) -> list[Mask]:
        """Segment with one embedding of a square for each box."""
        side_px = self._sizes.image_px
        views = [view_square(box, zoom) for box, _ in asked]
        prompts = prompts_of(
            [prompt_in_view(view, side_px, box, on) for view, (box, on) in zip(views, asked, strict=True)]
        )
        squares = levels_to_tensor([view.cut(source, side_px, FILL) for view in views]).to(self._sam.device)
        logits = full_size(decode(self._sam, embed(self._sam, squares), prompts)[0], side_px)[:, 0]
        return [
            view.drawn(logit, source.shape) for view, logit in zip(views, logits.cpu().numpy(), strict=True)
        ]


def prompt_in_view(
    view: ViewSquare, side_px: int, box: Box, points: Sequence[Point]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert an image's box (4) and points (k×2) to the pixels of a view of ``side_px``."""
    corner, scale = np.array([view.left, view.top], np.float64), side_px / view.extent
    return (_edges(box) - np.tile(corner, 2)) * scale, (_array(points) - corner) * scale


def build_sam(sizes: SamSizes) -> Sam:
    """Build segment_anything's own classes in these sizes, untrained."""
    side = sizes.image_px // sizes.patch_px
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=sizes.image_px,
            patch_size=sizes.patch_px,
            embed_dim=sizes.width,
            depth=sizes.depth,
            num_heads=sizes.heads,
            out_chans=sizes.prompt_width,
            norm_layer=cast(Any, partial(nn.LayerNorm, eps=1e-6)),
            use_rel_pos=True,
            window_size=sizes.window,
            global_attn_indexes=sizes.global_at,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=sizes.prompt_width,
            image_embedding_size=(side, side),
            input_image_size=(sizes.image_px, sizes.image_px),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=sizes.prompt_width,
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=sizes.prompt_width,
                num_heads=sizes.decoder_heads,
                mlp_dim=sizes.decoder_mlp,
            ),
        ),
    ).eval()


def embed(sam: Sam, squares: Tensor) -> Tensor:
    """B×3×S×S float, [0, 255] → B×C×h×w."""
    return sam.image_encoder(sam.preprocess(squares))


def decode(sam: Sam, embeddings: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Decode one mask for each of B boxes, each on its own image.

    Args:
        sam: The network.
        embeddings: B×C×h×w.
        prompts: The prompts of the B boxes.

    Returns:
        Logits B×1×4h×4w, and the IoU that the network predicts for each, B×1.
    """
    on, labels, boxes = (
        part.to(embeddings.device) for part in (prompts.points, prompts.labels, prompts.boxes)
    )
    points = (on, labels) if on.shape[1] else None
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=None)
    # SAM's decoder repeats one image for all prompts. Here the images differ. They go in with the dense
    # prompt, to which the decoder adds its image.
    return sam.mask_decoder(
        image_embeddings=torch.zeros_like(embeddings[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense + embeddings,
        multimask_output=False,
    )


def full_size(logits: Tensor, side_px: int) -> Tensor:
    """Resize B×1×h×w logits to the square's size."""
    return interpolate(logits, (side_px, side_px), mode="bilinear", align_corners=False)


def prompts_of(asked: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Prompts:
    """Join pairs of a box (4) and its points (k×2), in a square's pixels, into one batch."""
    most = max(len(on) for _, on in asked)
    points = torch.zeros(len(asked), most, 2)
    labels = torch.full((len(asked), most), _NO_POINT)
    for number, (_, on) in enumerate(asked):
        points[number, : len(on)] = torch.from_numpy(on.astype(np.float32))
        labels[number, : len(on)] = _ON_OBJECT
    boxes = torch.from_numpy(np.stack([box for box, _ in asked]).astype(np.float32))
    return Prompts(boxes, points, labels)


def _edges(box: Box) -> NDArray[np.float64]:
    return np.array([box.left, box.top, box.right, box.bottom])


def _array(points: Sequence[Point]) -> NDArray[np.float64]:
    return np.array(points, np.float64).reshape(-1, 2)


def _parts(asked: Sequence[tuple[Box, list[Point]]]) -> list[Sequence[tuple[Box, list[Point]]]]:
    return [asked[start : start + _SQUARES_AT_ONCE] for start in range(0, len(asked), _SQUARES_AT_ONCE)]
