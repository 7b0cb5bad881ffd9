"""Train the tiny Grounding DINO on synthetic solids, by shape and colour, and on the clip's people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from transformers import (
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    Mask2FormerForUniversalSegmentation,
)

from models.images.backbones import load_backbone
from models.perception.grounding_dino import (
    TINY_PX,
    GroundingDinoConfig,
    GroundingDinoDetector,
    prompts_of,
    tiny_grounding_dino,
    tiny_tokenizer,
)
from models.perception.weights import SHIPPED, pretrained_files
from models.protocols import Detector
from models.training.distributed import BatchSlice
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.grounding import GroundedBatch, grounding_loss
from models.training.samplers import MixedBatches
from tasks.sources.synthetic.samples import HUES
from tasks.sources.synthetic.scene import SHAPES
from tasks.storage.atomic_files import write_durably
from tasks.training.perception.boxes import blind_recall, box_score, matched, placed
from tasks.training.perception.samples import (
    CLASSES,
    PERSON,
    SeenImage,
    SeenObject,
    clip_images,
    synthetic_image,
)

# The prompts of a training image: phrases, some of which match nothing in it, and the objects they match.

SYNONYMS = {"box": ("box", "cube"), "sphere": ("sphere", "ball")}
"""Two words for the same shape."""
VOCABULARY = tuple(sorted({*HUES, *CLASSES, *(word for words in SYNONYMS.values() for word in words)}))
"""All words."""
WITHHELD = frozenset({("red", "cone"), ("green", "box"), ("blue", "sphere"), ("yellow", "cylinder")})
"""Combinations of colour and shape in no training prompt. Only the measurement asks for them."""
_BY_SHAPE, _BY_COLOR = 0.4, 0.55
"""Cumulative probabilities of prompts. The rest are by colour and shape."""
_MAX_FOREIGN = 3

Name = tuple[str | None, str | None]
"""Colour and shape. Either may be None, which matches any."""


def asked_of(seen: Sequence[SeenObject], rng: np.random.Generator) -> tuple[list[str], list[int | None]]:
    """Draw a prompt for an image.

    Args:
        seen: The image's objects.
        rng: Decides everything.

    Returns:
        At least one phrase. For each object, the index of the phrase it matches; None if no phrase does.
    """
    kind = float(rng.random())
    names: list[Name]
    asked: set[Name]
    if kind < _BY_SHAPE:
        asked = {(None, shape) for shape in CLASSES}
        names = [(None, each.class_name) for each in seen]
    elif kind < _BY_COLOR:
        asked = {
            (str(color), None) for color in rng.choice(HUES, int(rng.integers(1, len(HUES))), replace=False)
        }
        names = [(each.color, None) for each in seen]
    else:
        names = [(each.color, each.class_name) for each in seen]
        asked = _some_of(names, rng)
    order = sorted(asked, key=str)
    rng.shuffle(order)
    phrases = [_said(color, shape, rng) for color, shape in order]
    return phrases, [order.index(name) if name in asked else None for name in names]


def _some_of(names: Sequence[Name], rng: np.random.Generator) -> set[Name]:
    """Some of the image's own names, and a few similar ones that are not in it."""
    own = sorted({name for name in names if name not in WITHHELD}, key=str)
    kept = {name for name in own if rng.random() < 0.6}
    foreign: set[Name] = set()
    for _ in range(int(rng.integers(0 if kept else 1, _MAX_FOREIGN + 1))):
        color, shape = str(rng.choice(HUES)), str(rng.choice(CLASSES[:-1]))
        if own and rng.random() < 0.7:  # Half right: the colour or the shape of an object that is there
            near_color, near_shape = own[int(rng.integers(len(own)))]
            if near_shape != PERSON:
                color, shape = (near_color, shape) if rng.random() < 0.5 else (color, near_shape)
        if (color, shape) not in {*names, *WITHHELD}:
            foreign.add((color, shape))
    return kept | foreign or {(None, PERSON)}


def _said(color: str | None, shape: str | None, rng: np.random.Generator) -> str:
    words = SYNONYMS.get(shape or "", (shape,))
    return " ".join(word for word in (color, words[int(rng.integers(len(words)))]) if word)


# Reading test: one phrase alone, such as "red box", is asked of scenes that hold other things too.


@dataclass(slots=True)
class _Tally:
    asked: int = 0
    surest_right: int = 0
    by_chance: float = 0
    answers: int = 0
    right: int = 0
    meant: int = 0

    def figures(self, of: str) -> dict[str, float]:
        asked = max(1, self.asked)
        return {
            f"{of} asked": self.asked,
            f"{of} surest right": self.surest_right / asked,
            f"{of} surest right unread": self.by_chance / asked,
            f"{of} precision": self.right / max(1, self.answers),
            f"{of} recall": self.right / max(1, self.meant),
        }


def open_score(folder: Path, images: Sequence[SeenImage]) -> dict[str, float]:
    """Ask for one colour and shape alone, in every image with several objects that do not all match.

    ``surest right`` is the fraction of these questions whose most certain answer is, at IoU 0.5, an object of
    that colour and shape. ``unread`` is what a perfect detector would reach that cannot read and picks any
    object. ``withheld`` are the combinations in no training prompt, ``phrase`` the others. ``absent
    answered`` is the fraction of questions for absent things, one for each image, that got an answer.
    """
    tallies = {"phrase": _Tally(), "withheld": _Tally()}
    absent = answered = 0
    names = list(product(HUES, SHAPES))
    for place, (color, shape) in enumerate(names):
        detector = GroundingDinoDetector(GroundingDinoConfig(weights=folder, words=(f"{color} {shape}",)))
        tally = tallies["withheld" if (color, shape) in WITHHELD else "phrase"]
        for number, image in enumerate(images):
            meant = sum((each.color, each.class_name) == (color, shape) for each in image.objects)
            if 0 < meant < len(image.objects):
                _ask(detector, image, (color, shape), tally)
            elif meant == 0 and number % len(names) == place:
                absent, answered = absent + 1, answered + bool(detector.detect(image.source))
    of_all = {name: value for of, tally in tallies.items() for name, value in tally.figures(of).items()}
    return {**of_all, "absent asked": absent, "absent answered": answered / max(1, absent)}


def _ask(detector: Detector, image: SeenImage, name: tuple[str, str], tally: _Tally) -> None:
    found = detector.detect(image.source)
    meant = [each for each in image.objects if (each.color, each.class_name) == name]
    tally.asked += 1
    tally.surest_right += len(matched(found[:1], meant))
    tally.by_chance += len(meant) / len(image.objects)
    tally.answers += len(found)
    tally.right += len(matched(found, meant))
    tally.meant += len(meant)


GROUNDING_DINO_TRAINING = TrainingConfig(
    steps=3600,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    checkpoint_every=100,
)
_SYNTHETIC_IMAGES = 2000
_SYNTHETIC_FRACTION = 3
"""Synthetic images for each image of the clip in a batch."""
_FIRST_STAGE = ("swin.embeddings.", "swin.encoder.layers.0.")
_UNUSED = "swin.layernorm."
"""The last norm of a Swin. Grounding DINO normalizes each stage instead, so it stays unused."""
_FILL = (124, 116, 104)
"""The mean that the preprocessing subtracts."""


def train_grounding_dino(
    training: TrainingConfig, folder: Path, checkpoint: Path | None = None, progress: Progress | None = None
) -> None:
    """Train on synthetic scenes and the clip's training blocks. Write five files into ``folder``."""
    tokenizer = tiny_tokenizer(VOCABULARY)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = tiny_grounding_dino(len(tokenizer))
    see_as_mask2former(network, SHIPPED / "mask2former")
    preparation = GroundingDinoImageProcessorPil(size={"height": TINY_PX, "width": TINY_PX})
    synthetic = [synthetic_image(index, "train") for index in range(_SYNTHETIC_IMAGES)]
    images = [*synthetic, *clip_images("train")]
    groups = [range(len(synthetic))] * _SYNTHETIC_FRACTION + [range(len(synthetic), len(images))]

    def collated(draws: list[tuple[SeenImage, bool]], rng: np.random.Generator) -> GroundedBatch:
        squares, asked, image_of, phrase_of, boxes = [], [], [], [], []
        for number, (image, flip) in enumerate(draws):
            square, seen = placed(image, TINY_PX, flip, _FILL, rng)
            phrases, answers = asked_of([each for each, _ in seen], rng)
            squares.append(square)
            asked.append(phrases)
            for (_, box), phrase in zip(seen, answers, strict=True):
                if phrase is not None:
                    image_of.append(number)
                    phrase_of.append(phrase)
                    middle = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
                    boxes.append([*middle, box.right - box.left, box.bottom - box.top])
        shown = preparation(images=squares, return_tensors="pt")
        return GroundedBatch(
            shown["pixel_values"],
            prompts_of(asked, tokenizer),
            torch.tensor(image_of, dtype=torch.int64),
            torch.tensor(phrase_of, dtype=torch.int64),
            torch.tensor(boxes).reshape(-1, 4) / TINY_PX,
        )

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[GroundedBatch]:
        order = MixedBatches(groups, training.batch_size, training.seed, start, stop, parts)
        for number, draws in enumerate(order, start):
            rng = np.random.default_rng([training.seed, number])
            yield collated([(images[place], flip) for place, flip in draws], rng)

    def loss_of(batch: GroundedBatch, _: BatchSlice) -> torch.Tensor:
        return grounding_loss(network, batch)

    train(network, loss_of, batches, training, checkpoint, progress)
    for name, content in pretrained_files(network, preparation).items():
        write_durably(folder / name, content)
    write_durably(folder / "tokenizer.json", tokenizer.backend_tokenizer.to_str(pretty=True).encode())
    write_durably(folder / "tokenizer_config.json", b'{"tokenizer_class": "BertTokenizer"}\n')


def see_as_mask2former(network: GroundingDinoForObjectDetection, weights: Path) -> None:
    """Initialize the backbone with that of the tiny Mask2Former, the same Swin. Its first stage stays frozen.

    Raises:
        ModelError: If the folder holds no complete Mask2Former.
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
    """Boxes at IoU 0.5 for all words at once, as for YOLO, and for one phrase alone."""
    detector = GroundingDinoDetector(GroundingDinoConfig(weights=folder))
    synthetic = [synthetic_image(index, "measure") for index in range(scenes)]
    figures: dict[str, float] = {}
    for of, images in {"studio": synthetic, "person": list(clip_images("measure"))}.items():
        found = {**box_score(detector, images)._asdict(), "blind_recall": blind_recall(images)}
        figures |= {f"{of} {figure}": value for figure, value in found.items()}
    return figures | open_score(folder, synthetic)
