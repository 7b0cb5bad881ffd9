"""Grounding DINO: objects of any words, by transformers' own classes, Apache-2.0 (papers.md fact 11)."""

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
from data_specs.errors import ModelError
from data_specs.keys import derive_key
from models.metrics.backbones import folder_fingerprint, load_backbone, load_preparation
from models.perception.weights import SHIPPED

# Prompts: words to look for, as the text side of Grounding DINO reads them, "red box. person.".

STOPS = ".?"
"""What ends a phrase, whatever stands around it: no phrase may hold one."""
_PLACES = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
"""BERT's own; the network tells phrases apart by these numbers."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """B prompts of up to P phrases and T tokens, short ones filled up."""

    tokens: Tensor
    """B×T int64."""
    real: Tensor
    """B×T int64, 1 = a token, 0 = filling."""
    phrases: Tensor
    """B×P×T bool: which tokens are the words of which phrase; of a missing phrase none."""

    def named(self) -> dict[str, Tensor]:
        """As transformers calls them."""
        return {
            "input_ids": self.tokens,
            "attention_mask": self.real,
            "token_type_ids": torch.zeros_like(self.tokens),
        }


def load_tokenizer(folder: Path) -> BertTokenizer:
    """The folder's own tokenizer.

    Raises:
        ModelError: If the folder holds none, or one that does not number full stops as BERT's does.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder}: no usable tokenizer.json or vocab.txt ({first})") from error
    for token, place in _PLACES.items():
        if tokenizer.convert_tokens_to_ids(token) != place:
            raise ModelError(
                f"{folder}: its tokenizer does not number {token} as {place}; BERT's uncased does"
            )
    return tokenizer


def tiny_tokenizer(words: Iterable[str]) -> BertTokenizer:
    """BERT's tokenizer, its whole vocabulary these words; what parts phrases keeps BERT's numbers."""
    first = max(_PLACES.values()) + 1
    unused = {f"[unused{place}]": place for place in set(range(first)) - set(_PLACES.values())}
    known = {word: first + number for number, word in enumerate(sorted(set(words)))}
    places = sorted({**_PLACES, **unused, **known}.items(), key=lambda pair: pair[1])
    return BertTokenizer(vocab=dict(places), do_lower_case=True)


def prompts_of(asked: Sequence[Sequence[str]], tokenizer: Any, max_tokens: int = 256) -> Prompts:
    """Each image's phrases as one prompt.

    Args:
        asked: For each image at least one phrase, of one word or more.
        tokenizer: BERT's, whole or tiny.
        max_tokens: Longest prompt that the network reads.

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
                raise ModelError(f"{phrase!r} is not in the detector's vocabulary; ask in other words")
            line += [*ids, stop]
            owner += [number] * len(ids) + [-1]
        lines.append([*line, end])
        owners.append([*owner, -1])
    longest = max(map(len, lines))
    if longest > max_tokens:
        raise ModelError(f"the words make {longest} tokens, the detector reads {max_tokens}; ask for fewer")
    tokens, owned = (
        torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
        for rows, fill in ((lines, _PLACES["[PAD]"]), (owners, -1))
    )
    numbers = torch.arange(max(map(len, asked)))
    return Prompts(tokens, (tokens != _PLACES["[PAD]"]).long(), owned[:, None] == numbers[:, None])


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
    min_score: float = Field(default=0.15, ge=0, le=1, description="Less sure is not found.")
    max_overlap: float = Field(
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
    """A Detector, for images of any size."""

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
        shows = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & (scores >= self._config.min_score)
        boxes, scores, phrases = boxes[shows], scores[shows], phrases[shows]
        return [
            Detection(
                Box(*boxes[place].tolist()), self._config.words[int(phrases[place])], float(scores[place])
            )
            for place in nms(boxes, scores, self._config.max_overlap).tolist()
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
