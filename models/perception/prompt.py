"""Prompts: words to look for, as the text side of Grounding DINO reads them, "red box. person."."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertTokenizer

from data_specs.errors import ModelError

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


def prompts_of(asked: Sequence[Sequence[str]], tokenizer: Any, most_tokens: int = 256) -> Prompts:
    """Each picture's phrases as one prompt.

    Args:
        asked: For each picture at least one phrase, of one word or more.
        tokenizer: BERT's, whole or tiny.
        most_tokens: Longest prompt that the network reads.

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
    if longest > most_tokens:
        raise ModelError(f"the words make {longest} tokens, the detector reads {most_tokens}; ask for fewer")
    tokens, owned = (
        torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
        for rows, fill in ((lines, _PLACES["[PAD]"]), (owners, -1))
    )
    numbers = torch.arange(max(map(len, asked)))
    return Prompts(tokens, (tokens != _PLACES["[PAD]"]).long(), owned[:, None] == numbers[:, None])
