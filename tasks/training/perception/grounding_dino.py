"""Train Grounding DINO's tiny form: studio solids by shape, by colour and by both, and the clip's people."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import (
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    Mask2FormerForUniversalSegmentation,
)

from models.metrics.backbones import load_backbone
from models.perception.grounding_dino import (
    TINY_PX,
    GroundingDinoConfig,
    GroundingDinoDetector,
    tiny_grounding_dino,
)
from models.perception.prompt import prompts_of, tiny_tokenizer
from models.perception.weights import SHIPPED
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.grounding import GroundedBatch, grounding_loss
from models.training.samplers import MixedBatches
from models.training.share import Share
from tasks.storage.atomic_files import write_durably
from tasks.training.perception.asked_words import VOCABULARY, asked_of
from tasks.training.perception.boxes import blind_recall, box_score, placed
from tasks.training.perception.open_words import open_score
from tasks.training.perception.pretrained_files import write_pretrained
from tasks.training.perception.samples import SeenPicture, clip_pictures, studio_picture

GROUNDING_DINO_TRAINING = TrainingConfig(
    steps=3600,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    checkpoint_every=100,
)
_STUDIO_PICTURES = 2000
_STUDIO_SHARE = 3
"""Studio pictures for each of the clip in a batch."""
_FIRST_STAGE = ("swin.embeddings.", "swin.encoder.layers.0.")
_UNUSED = "swin.layernorm."
"""Of a Swin whose stages are normed one by one."""
_FILL = (124, 116, 104)
"""The mean that the preparation subtracts."""


def train_grounding_dino(
    training: TrainingConfig, folder: Path, checkpoint: Path | None = None, progress: Progress | None = None
) -> None:
    """Train on studio scenes and the clip's training blocks; write the model's five files into ``folder``."""
    tokenizer = tiny_tokenizer(VOCABULARY)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = tiny_grounding_dino(len(tokenizer))
    see_as_mask2former(network, SHIPPED / "mask2former")
    preparation = GroundingDinoImageProcessorPil(size={"height": TINY_PX, "width": TINY_PX})
    studio = [studio_picture(index, "train") for index in range(_STUDIO_PICTURES)]
    pictures = [*studio, *clip_pictures("train")]
    groups = [range(len(studio))] * _STUDIO_SHARE + [range(len(studio), len(pictures))]

    def collated(draws: list[tuple[SeenPicture, bool]], rng: np.random.Generator) -> GroundedBatch:
        squares, asked, picture_of, phrase_of, boxes = [], [], [], [], []
        for number, (picture, flip) in enumerate(draws):
            square, seen = placed(picture, TINY_PX, flip, _FILL, rng)
            phrases, answers = asked_of([each for each, _ in seen], rng)
            squares.append(square)
            asked.append(phrases)
            for (_, box), phrase in zip(seen, answers, strict=True):
                if phrase is not None:
                    picture_of.append(number)
                    phrase_of.append(phrase)
                    middle = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
                    boxes.append([*middle, box.right - box.left, box.bottom - box.top])
        shown = preparation(images=squares, return_tensors="pt")
        return GroundedBatch(
            shown["pixel_values"],
            prompts_of(asked, tokenizer),
            torch.tensor(picture_of, dtype=torch.int64),
            torch.tensor(phrase_of, dtype=torch.int64),
            torch.tensor(boxes).reshape(-1, 4) / TINY_PX,
        )

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[GroundedBatch]:
        order = MixedBatches(groups, training.batch_size, training.seed, start, stop, parts)
        for number, draws in enumerate(order, start):
            rng = np.random.default_rng([training.seed, number])
            yield collated([(pictures[place], flip) for place, flip in draws], rng)

    def loss_of(batch: GroundedBatch, _: Share) -> torch.Tensor:
        return grounding_loss(network, batch)

    train(network, loss_of, batches, training, checkpoint, progress)
    write_pretrained(network, preparation, folder)
    write_durably(folder / "tokenizer.json", tokenizer.backend_tokenizer.to_str(pretty=True).encode())
    write_durably(folder / "tokenizer_config.json", b'{"tokenizer_class": "BertTokenizer"}\n')


def see_as_mask2former(network: GroundingDinoForObjectDetection, weights: Path) -> None:
    """Begin with the eyes of the tiny Mask2Former, the same Swin; its first stage stays as it is.

    Raises:
        ModelError: If the folder holds no whole Mask2Former.
    """
    teacher = load_backbone(Mask2FormerForUniversalSegmentation, weights)
    known = teacher.model.pixel_level_module.encoder.state_dict()
    eyes = network.model.backbone.conv_encoder.model
    own = eyes.state_dict()
    eyes.load_state_dict({name: own[name] if name.startswith(_UNUSED) else known[name] for name in own})
    for name, parameter in eyes.named_parameters():
        if name.startswith((*_FIRST_STAGE, _UNUSED)):
            parameter.requires_grad_(False)


def measure_grounding_dino(folder: Path, scenes: int) -> dict[str, float]:
    """Boxes at IoU 0.5 of all words at once, as YOLO is measured, and of one phrase alone."""
    detector = GroundingDinoDetector(GroundingDinoConfig(weights=folder))
    studio = [studio_picture(index, "measure") for index in range(scenes)]
    figures: dict[str, float] = {}
    for of, pictures in {"studio": studio, "person": list(clip_pictures("measure"))}.items():
        found = {**box_score(detector, pictures)._asdict(), "blind_recall": blind_recall(pictures)}
        figures |= {f"{of} {figure}": value for figure, value in found.items()}
    return figures | open_score(folder, studio)
