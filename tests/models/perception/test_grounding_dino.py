"""Grounding DINO as it is published: read from a folder, answering as transformers does, whole or refused."""

import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import (
    BertConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    SwinConfig,
)
from transformers import GroundingDinoConfig as GroundingDinoSizes

from data_specs.errors import ModelError
from models.perception.grounding_dino import (
    GroundingDinoConfig,
    GroundingDinoDetector,
    phrase_scores,
    prompts_of,
    tiny_grounding_dino,
    tiny_tokenizer,
)
from models.perception.registry import DetectorConfig
from models.perception.yolo import YoloConfig

WORDS = ("red box", "cone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of random weights as ``save_pretrained`` lays it out: under the published names."""
    place = tmp_path_factory.mktemp("published")
    tokenizer = tiny_tokenizer(["red", "box", "cone"])
    torch.manual_seed(0)
    network = tiny_grounding_dino(len(tokenizer))
    with torch.no_grad():
        for parameter in network.bbox_embed.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    network.save_pretrained(place)
    tokenizer.save_pretrained(place)
    sizes = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoImageProcessorPil(size=sizes).save_pretrained(place)
    return place


@pytest.mark.parametrize("shape", [(60, 100), (90, 41), (64, 64)])
def test_boxes_and_scores_are_those_of_transformers_own_processing(
    folder: Path, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    config = GroundingDinoConfig(weights=folder, words=WORDS, min_score=0.05, max_overlap=1.0)
    found = GroundingDinoDetector(config).detect(image)
    model = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil.from_pretrained(folder), tiny_tokenizer(["red", "box", "cone"])
    )
    inputs = cast(Any, processor)(images=[image], text=[list(WORDS)], return_tensors="pt")
    with torch.no_grad():
        answer = model(**inputs)
    # Theirs also takes full stops and the end of the sentence for words.
    own = torch.isin(answer.input_ids, torch.tensor([101, 102, 1012])).nonzero()[:, 1]
    answer.logits[..., own] = -torch.inf
    (theirs,) = processor.post_process_grounded_object_detection(answer, threshold=0.05, target_sizes=[shape])
    order = theirs["scores"].argsort(descending=True)
    assert len(found) == len(order) > 3
    torch.testing.assert_close(torch.tensor([each.score for each in found]), theirs["scores"][order])
    limits = torch.tensor([shape[1], shape[0], shape[1], shape[0]])
    boxes = theirs["boxes"][order].clamp(min=torch.zeros(4), max=limits)
    ours = [[b.left, b.top, b.right, b.bottom] for b in (each.box for each in found)]
    torch.testing.assert_close(torch.tensor(ours), boxes, rtol=1e-4, atol=1e-3)


def test_a_query_answers_the_phrase_of_its_surest_word() -> None:
    prompts = prompts_of([["red box", "cone"]], tiny_tokenizer(["red", "box", "cone"]))
    logits = torch.full((1, 2, 256), -9.0)  # [CLS] red box . cone . [SEP]
    logits[0, 0, 2], logits[0, 0, 4] = 2.0, 1.0
    logits[0, 1, 3], logits[0, 1, 4] = 5.0, 0.0  # a full stop is nobody's word
    scores = phrase_scores(logits, prompts)[0]
    torch.testing.assert_close(scores, torch.tensor([[2.0, 1.0], [-9.0, 0.0]]).sigmoid())


def test_words_and_weights_are_in_the_hash_and_their_place_is_not(folder: Path, tmp_path: Path) -> None:
    def hash_of(**settings: Any) -> str:
        return GroundingDinoDetector(GroundingDinoConfig(**{"weights": folder, **settings})).model_hash

    first = hash_of(words=WORDS)
    assert hash_of(words=WORDS, weights=Path(shutil.copytree(folder, tmp_path / "copy"))) == first
    others = [hash_of(words=("cone", "red box")), hash_of(words=WORDS, min_score=0.5)]
    assert len({first, *others}) == 3


def test_what_is_not_whole_is_refused(folder: Path, tmp_path: Path) -> None:
    def refused(why: str, **settings: Any) -> None:
        with pytest.raises(ModelError, match=why):
            GroundingDinoDetector(GroundingDinoConfig(**{"weights": folder, "words": WORDS, **settings}))

    refused("'whale' is not in the detector's vocabulary", words=("whale",))
    refused("no GroundingDinoForObjectDetection can be read from it", weights=tmp_path / "nowhere")
    for absent, why in (
        ("tokenizer.json", "its tokenizer.json or vocab.txt cannot be used|does not give"),
        ("preprocessor_config.json", "its preprocessor_config.json cannot be used"),
        ("model.safetensors", "no GroundingDinoForObjectDetection can be read from it"),
    ):
        copy = Path(shutil.copytree(folder, tmp_path / absent.split(".")[0]))
        (copy / absent).unlink()
        (copy / "pytorch_model.bin").write_bytes(b"a pickle, never opened")
        refused(why, weights=copy)


@pytest.mark.parametrize("words", [(), ("",), ("a dog. a cat",), ("who?",)])
def test_phrases_that_would_part_elsewhere_are_no_config(words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        GroundingDinoConfig(words=words)


def test_a_config_file_chooses_the_detector() -> None:
    adapter = TypeAdapter(DetectorConfig)
    assert isinstance(adapter.validate_python({"kind": "yolo"}), YoloConfig)
    chosen = adapter.validate_python({"kind": "grounding_dino", "words": ["person"]})
    assert isinstance(chosen, GroundingDinoConfig)
    with pytest.raises(ValidationError, match="'yolo', 'grounding_dino'"):
        adapter.validate_python({"kind": "owl"})


PUBLISHED = {
    # Swin's sizes, the file's bytes, and those of the index tables that it holds and no class here keeps.
    "tiny": ({"depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}, 689_359_096, 12 * 49**2 * 8),
    "base": (
        {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},
        933_400_872,
        24 * 144**2 * 8,
    ),
}


@pytest.mark.parametrize("size", list(PUBLISHED))
def test_the_published_sizes_fill_the_published_files(size: str) -> None:
    """Built on "meta": what is left of the file's bytes is its header, 100 to 200 of them a tensor."""
    swin, file_bytes, tables = PUBLISHED[size]
    backbone = SwinConfig(**{**swin, "out_indices": [2, 3, 4]})  # pyright: ignore[reportArgumentType]
    with torch.device("meta"):
        network = GroundingDinoForObjectDetection(
            GroundingDinoSizes(backbone_config=backbone, text_config=BertConfig())
        )
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert 100 < (file_bytes - weights - tables) / len(network.state_dict()) < 200
    shapes = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    width = swin.get("embed_dim", 96)
    assert shapes["model.text_backbone.embeddings.word_embeddings.weight"] == (30522, 768)
    assert shapes["model.text_projection.weight"] == (256, 768)
    assert shapes["model.query_position_embeddings.weight"] == (900, 256)
    assert shapes["model.input_proj_vision.0.0.weight"] == (256, 2 * width, 1, 1)
    assert shapes["model.input_proj_vision.3.0.weight"] == (256, 8 * width, 3, 3)
    assert shapes["model.level_embed"] == (4, 256)
    assert shapes["model.decoder.layers.5.encoder_attn.sampling_offsets.weight"] == (256, 256)
    assert shapes["bbox_embed.5.layers.2.weight"] == (4, 256)
