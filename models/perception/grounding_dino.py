"""Grounding DINO: objects of any words, by transformers' own classes, Apache-2.0 (papers.md fact 11)."""

from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor
from torchvision.ops import box_convert, nms
from transformers import BertConfig, GroundingDinoForObjectDetection, SwinConfig
from transformers import GroundingDinoConfig as GroundingDinoSizes

from data_specs.arrays import RgbImage
from data_specs.detection import Box, Detection
from data_specs.keys import derive_key
from models.metrics.backbones import folder_fingerprint, load_backbone, load_preparation
from models.perception.prompt import STOPS, Prompts, load_tokenizer, prompts_of
from models.perception.weights import SHIPPED

TINY_PX = 96
"""Side of the square that the tiny model is shown."""


class GroundingDinoConfig(BaseModel):
    """Which Grounding DINO, what it looks for, and what counts as found."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["grounding_dino"] = "grounding_dino"
    weights: Path = Field(
        default=SHIPPED / "grounding_dino",
        description="Folder with config.json, preprocessor_config.json, tokenizer.json and safetensors. The "
        "default is tiny and shipped; full is IDEA-Research/grounding-dino-tiny or -base.",
    )
    words: tuple[str, ...] = Field(
        default=("sphere", "box", "cylinder", "cone", "person"),
        min_length=1,
        description="What to look for, one or more words each, such as red box; no full stop in them.",
    )
    least_score: float = Field(default=0.15, ge=0, le=1, description="Less sure is not found.")
    most_overlap: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="IoU above which the less sure of two boxes goes, whatever their words.",
    )

    @field_validator("words")
    @classmethod
    def _phrases(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for each in words:
            if not each.strip() or set(each) & set(STOPS):
                raise ValueError(
                    f"{each!r} is no phrase to look for; write words without {' and '.join(STOPS)}"
                )
        return words


class GroundingDinoDetector:
    """A Detector, for pictures of any size."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        """Load.

        Raises:
            ModelError: If the folder does not hold a whole Grounding DINO with its tokenizer, or a word is
                not in its vocabulary.
        """
        self._config = config
        self._model = load_backbone(GroundingDinoForObjectDetection, config.weights)
        self._prepare = load_preparation(config.weights)
        self._prompt = prompts_of(
            [config.words], load_tokenizer(config.weights), self._model.config.max_text_len
        )
        settings = config.model_dump_json(exclude={"weights"})
        self._hash = derive_key("grounding_dino", settings, folder_fingerprint(config.weights))

    @property
    def model_hash(self) -> str:
        """Of words, settings, weights, sizes, tokenizer and preparation."""
        return self._hash

    @torch.inference_mode()
    def detect(self, source: RgbImage) -> list[Detection]:
        """See ``Detector.detect``; a class is the phrase of the surest word, as it was asked for."""
        shown: Any = self._prepare(images=[source], return_tensors="pt", input_data_format="channels_last")
        found = self._model(**shown, **self._prompt.named())
        scores, phrases = phrase_scores(found.logits, self._prompt)[0].max(dim=-1)
        height, width = source.shape[:2]
        scale = torch.tensor([width, height, width, height])
        edges = torch.tensor([[0, 0, 0, 0], [width, height, width, height]])
        boxes = box_convert(found.pred_boxes[0], "cxcywh", "xyxy") * scale
        boxes = boxes.clamp(edges[0], edges[1])
        shows = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & (scores >= self._config.least_score)
        boxes, scores, phrases = boxes[shows], scores[shows], phrases[shows]
        return [
            Detection(
                Box(*boxes[place].tolist()), self._config.words[int(phrases[place])], float(scores[place])
            )
            for place in nms(boxes, scores, self._config.most_overlap).tolist()
        ]


def phrase_scores(logits: Tensor, prompts: Prompts) -> Tensor:
    """How sure each query is of each phrase: of its surest word, as the published post-processing has it.

    Args:
        logits: B×Q×L, of tokens; what lies beyond the prompt is not looked at.
        prompts: B of up to P phrases.

    Returns:
        B×Q×P, 0..1; 0 for a phrase that is not there.
    """
    words = logits[..., : prompts.tokens.shape[1]].sigmoid()
    return (words[:, :, None] * prompts.phrases[:, None]).amax(dim=-1)


def tiny_grounding_dino(vocabulary: int) -> GroundingDinoForObjectDetection:
    """transformers' own classes at 0.7 million parameters, untrained.

    Nothing in it is dropped at random, so that a training killed goes on as it would have.

    Args:
        vocabulary: How many tokens its tokenizer knows.
    """
    # transformers takes it, but does not declare it.
    tapped: dict[str, Any] = {"out_features": ["stage2", "stage3"]}
    swin = SwinConfig(
        image_size=TINY_PX,
        embed_dim=24,
        depths=[2, 2, 2],
        num_heads=[2, 4, 4],
        window_size=4,
        mlp_ratio=2.0,
        drop_path_rate=0.0,
        **tapped,
    )
    text = BertConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=64,
    )
    sizes = GroundingDinoSizes(
        backbone_config=swin,
        text_config=text,
        d_model=64,
        num_feature_levels=2,
        encoder_n_points=2,
        decoder_n_points=2,
        num_queries=24,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=128,
        max_text_len=64,
        dropout=0.0,
        fusion_droppath=0.0,
        auxiliary_loss=True,
    )
    network = GroundingDinoForObjectDetection(sizes)
    _made_unsure(network)
    return network


@torch.no_grad()
def _made_unsure(network: GroundingDinoForObjectDetection) -> None:
    """Make every untrained logit about -2.6 ± 1.

    A logit is the product of a query's and a word's features and has no offset of its own: as transformers
    begins them, some of the thousands are sure of nonsense, and a training spends itself on unlearning that.
    """
    words = cast(Any, network.model.encoder.layers[-1]).text_enhancer_layer.layer_norm_after
    words.weight.fill_(0.5)
    words.bias.fill_(0.2)
    for queries in (network.model.enc_output_norm, network.model.decoder.layer_norm):
        queries.weight.fill_(0.25)
        queries.bias.fill_(-0.2)
