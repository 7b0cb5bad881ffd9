"""Find objects by free text with Grounding DINO in transformers' classes, Apache-2.0 (papers.md, fact 11)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor
from torchvision.ops import box_convert, nms
from transformers import AutoTokenizer, BertConfig, BertTokenizer, GroundingDinoForObjectDetection, SwinConfig
from transformers import GroundingDinoConfig as GroundingDinoSizes

from data_specs.arrays import RgbImage
from data_specs.detection import Box, Detection
from data_specs.errors import ModelError, first_line
from data_specs.keys import derive_key
from models.images.backbones import folder_fingerprint, load_backbone, load_preparation
from models.perception.weights import SHIPPED

# Prompts: phrases in the form "red box. person.", for Grounding DINO's text encoder.

STOPS = ".?"
"""Characters that end a phrase, whatever stands around them. No phrase may contain one."""
_PLACES = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
"""BERT's own token ids. The network separates phrases by them."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """B prompts of up to P phrases and T tokens, padded to one length."""

    tokens: Tensor
    """B×T int64."""
    real: Tensor
    """B×T int64, 1 = a token, 0 = padding."""
    phrases: Tensor
    """B×P×T bool: which tokens belong to which phrase. All False for a missing phrase."""

    def named(self) -> dict[str, Tensor]:
        """The tensors under transformers' names."""
        return {
            "input_ids": self.tokens,
            "attention_mask": self.real,
            "token_type_ids": torch.zeros_like(self.tokens),
        }


def load_tokenizer(folder: Path) -> BertTokenizer:
    """Load the folder's own tokenizer.

    Raises:
        ModelError: If the folder has no tokenizer, or one whose full stop has another number than BERT's.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder}: its tokenizer.json or vocab.txt cannot be used ({first_line(error)}); "
            "download it again"
        ) from error
    for token, place in _PLACES.items():
        if tokenizer.convert_tokens_to_ids(token) != place:
            raise ModelError(
                f"{folder}: its tokenizer does not give {token} the number {place}; use the one of BERT "
                "uncased"
            )
    return tokenizer


def tiny_tokenizer(words: Iterable[str]) -> BertTokenizer:
    """Build a BERT tokenizer with only these words. The separators of phrases keep BERT's numbers."""
    first = max(_PLACES.values()) + 1
    unused = {f"[unused{place}]": place for place in set(range(first)) - set(_PLACES.values())}
    numbers = {word: first + number for number, word in enumerate(sorted(set(words)))}
    places = sorted({**_PLACES, **unused, **numbers}.items(), key=lambda pair: pair[1])
    return BertTokenizer(vocab=dict(places), do_lower_case=True)


def prompts_of(asked: Sequence[Sequence[str]], tokenizer: Any, max_tokens: int = 256) -> Prompts:
    """Join each image's phrases into one prompt.

    Args:
        asked: For each image at least one phrase of at least one word.
        tokenizer: BERT's, full or tiny.
        max_tokens: Length of the longest prompt that the network reads.

    Raises:
        ModelError: If a word is not in the vocabulary, or the prompt is too long.
    """
    start, stop, end = (_PLACES[token] for token in ("[CLS]", ".", "[SEP]"))
    lines: list[list[int]] = []
    owners: list[list[int]] = []
    for phrases in asked:
        line, owner = [start], [-1]
        for number, phrase in enumerate(phrases):
            ids = tokenizer(phrase, add_special_tokens=False)["input_ids"]
            if _PLACES["[UNK]"] in ids or not ids:
                raise ModelError(f"{phrase!r} is not in the detector's vocabulary; use other words")
            line += [*ids, stop]
            owner += [number] * len(ids) + [-1]
        lines.append([*line, end])
        owners.append([*owner, -1])
    longest = max(map(len, lines))
    if longest > max_tokens:
        raise ModelError(
            f"the words have {longest} tokens, and the detector reads {max_tokens}; give fewer words"
        )
    tokens, owned = (
        torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
        for rows, fill in ((lines, _PLACES["[PAD]"]), (owners, -1))
    )
    numbers = torch.arange(max(map(len, asked)))
    return Prompts(tokens, (tokens != _PLACES["[PAD]"]).long(), owned[:, None] == numbers[:, None])


TINY_PX = 96
"""Side of the square that the tiny model sees."""


class GroundingDinoConfig(BaseModel):
    """Which Grounding DINO model to use, which phrases to look for, and the thresholds of a detection."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["grounding_dino"] = "grounding_dino"
    weights: Path = Field(
        default=SHIPPED / "grounding_dino",
        description="Folder with config.json, preprocessor_config.json, tokenizer.json and safetensors. "
        "The default is tiny and shipped. The full model is IDEA-Research/grounding-dino-tiny "
        "or -base.",
    )
    words: tuple[str, ...] = Field(
        default=("sphere", "box", "cylinder", "cone", "person"),
        min_length=1,
        description="Objects to find, each in one or more words, such as red box. Full stops are not "
        "allowed.",
    )
    min_score: float = Field(default=0.15, ge=0, le=1, description="Minimum score of a detection.")
    max_overlap: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Maximum IoU of two boxes. Above it, the box with the lower score is dropped, "
        "whatever the words.",
    )

    @field_validator("words")
    @classmethod
    def _phrases(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for phrase in words:
            if not phrase.strip() or set(phrase) & set(STOPS):
                raise ValueError(
                    f"{phrase!r} is no phrase to look for; write words without {' and '.join(STOPS)}"
                )
        return words


class GroundingDinoDetector:
    """A Detector, for images of any size."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        """Load the model.

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
        """Names phrases, settings, weights, sizes, tokenizer and preparation."""
        return self._hash

    @torch.inference_mode()
    def detect(self, source: RgbImage) -> list[Detection]:
        """See ``Detector.detect``. The class is the phrase with the highest score, as it was given."""
        shown: Any = self._prepare(images=[source], return_tensors="pt", input_data_format="channels_last")
        inputs = {**shown, **self._prompt.named()}
        output = self._model(**{name: tensor.to(self._model.device) for name, tensor in inputs.items()})
        scores, phrases = phrase_scores(output.logits.cpu(), self._prompt)[0].max(dim=-1)
        height, width = source.shape[:2]
        scale = torch.tensor([width, height, width, height])
        edges = torch.tensor([[0, 0, 0, 0], [width, height, width, height]])
        boxes = box_convert(output.pred_boxes[0].cpu(), "cxcywh", "xyxy") * scale
        boxes = boxes.clamp(edges[0], edges[1])
        shows = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & (scores >= self._config.min_score)
        boxes, scores, phrases = boxes[shows], scores[shows], phrases[shows]
        return [
            Detection(
                Box(*boxes[place].tolist()), self._config.words[int(phrases[place])], float(scores[place])
            )
            for place in nms(boxes, scores, self._config.max_overlap).tolist()
        ]


def phrase_scores(logits: Tensor, prompts: Prompts) -> Tensor:
    """Score of each query for each phrase: its highest token score, as in the published post-processing.

    Args:
        logits: B×Q×L, of tokens. Values beyond the prompt are ignored.
        prompts: B prompts of up to P phrases.

    Returns:
        B×Q×P, 0..1. 0 for a missing phrase.
    """
    words = logits[..., : prompts.tokens.shape[1]].sigmoid()
    return (words[:, :, None] * prompts.phrases[:, None]).amax(dim=-1)


def tiny_grounding_dino(vocabulary: int) -> GroundingDinoForObjectDetection:
    """Build the model from transformers' classes at 0.7 million parameters, untrained.

    It has no dropout, so that a resumed training gives the same result.

    Args:
        vocabulary: Number of tokens that its tokenizer knows.
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
    """Set every untrained logit to about -2.6 ± 1.

    A logit is the product of a query's and a word's features and has no bias. With transformers' initial
    weights some of the thousands of logits are wrongly confident, and a training spends its time on
    unlearning them.
    """
    words = cast(Any, network.model.encoder.layers[-1]).text_enhancer_layer.layer_norm_after
    words.weight.fill_(0.5)
    words.bias.fill_(0.2)
    for queries in (network.model.enc_output_norm, network.model.decoder.layer_norm):
        queries.weight.fill_(0.25)
        queries.bias.fill_(-0.2)
