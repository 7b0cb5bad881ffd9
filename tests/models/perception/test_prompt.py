"""Prompts: what the network reads is what BERT's tokenizer makes of the sentence, phrase by phrase."""

from typing import Any, cast

import pytest
import torch
from transformers.models.grounding_dino.modeling_grounding_dino import SPECIAL_TOKENS, build_label_maps

from data_specs.errors import ModelError
from models.perception.grounding_dino import load_tokenizer, prompts_of, tiny_tokenizer

WORDS = ("red", "blue", "box", "cone", "person")


def test_a_prompt_is_the_sentence_that_transformers_would_read() -> None:
    tokenizer = tiny_tokenizer(WORDS)
    asked = [["red box", "person"], ["Cone"], ["blue cone", "red box", "person"]]
    prompts = prompts_of(asked, tokenizer)
    for number, phrases in enumerate(asked):
        sentence = tokenizer(". ".join(phrases) + ".")["input_ids"]
        assert prompts.tokens[number, : len(sentence)].tolist() == sentence
        assert int(prompts.real[number].sum()) == len(sentence)
    logits = torch.zeros(3, 1, prompts.tokens.shape[1])
    for own, theirs in zip(prompts.phrases, build_label_maps(logits, cast(Any, prompts.tokens)), strict=True):
        assert torch.equal(own[: len(theirs)], theirs.bool())
        assert not own[len(theirs) :].any()


def test_the_tiny_vocabulary_keeps_the_numbers_that_part_phrases() -> None:
    tokenizer = tiny_tokenizer(WORDS)
    assert tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", ".", "?"]) == SPECIAL_TOKENS
    assert len(tokenizer) == 1030 + len(WORDS)
    assert sorted(cast(list[int], tokenizer.convert_tokens_to_ids(list(WORDS)))) == list(range(1030, 1035))


def test_unknown_words_and_long_prompts_are_refused() -> None:
    tokenizer = tiny_tokenizer(WORDS)
    with pytest.raises(ModelError, match=r"'red whale' is not in the detector's vocabulary"):
        prompts_of([["box", "red whale"]], tokenizer)
    with pytest.raises(
        ModelError, match="the words have 12 tokens, and the detector reads 11; give fewer words"
    ):
        prompts_of([["box"] * 5], tokenizer, 11)


def test_a_folder_without_a_bert_tokenizer_is_refused(tmp_path) -> None:
    with pytest.raises(ModelError, match="its tokenizer.json or vocab.txt cannot be used"):
        load_tokenizer(tmp_path)
    from transformers import BertTokenizer

    BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match=r"does not give \[UNK\] the number 100"):
        load_tokenizer(tmp_path)
