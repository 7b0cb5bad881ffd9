"""Train the tiny image encoder that stands where CLIP stands: to name a studio object's shape and colour."""

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import CLIPVisionModelWithProjection

from data_specs.arrays import Mask, RgbImage
from models.images.tensors import masks_to_tensor, pictures_to_tensor
from models.objectclear.object_clear_sizes import build_tiny_image_encoder
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.image_encoder import NamedBatch, ObjectNamer, naming_accuracy, naming_loss
from models.training.samplers import MixedBatches
from models.training.share import Share
from tasks.sources.synthetic.samples import Shot
from tasks.sources.synthetic.scene import SHAPES

HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")


@dataclass(frozen=True, slots=True, eq=False)
class NamedObject:
    """A studio object with its names as numbers."""

    source: RgbImage
    mask: Mask
    shape: int
    """Its place in the studio's ``SHAPES``."""
    color: int
    """The nearest of ``HUES`` to its mean colour."""


class NamingScore(NamedTuple):
    """How well unseen objects are named, beside the best answer that looks at nothing."""

    shape: float
    color: float
    shape_by_chance: float
    """Share of the most frequent shape."""
    color_by_chance: float


def named_object(shot: Shot) -> NamedObject:
    """The shot's object, its colour read off the picture."""
    red, green, blue = shot.source[shot.mask].mean(axis=0) / 255
    hue = colorsys.rgb_to_hsv(float(red), float(green), float(blue))[0]
    return NamedObject(
        source=shot.source,
        mask=shot.mask,
        shape=[str(shape) for shape in SHAPES].index(shot.class_name),
        color=round(hue * len(HUES)) % len(HUES),
    )


def train_image_encoder(
    objects: Sequence[NamedObject],
    unseen: Sequence[NamedObject],
    config: TrainingConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[CLIPVisionModelWithProjection, NamingScore]:
    """Train on ``objects``, measure on ``unseen``.

    Args:
        objects: At least one.
        unseen: Of scenes that ``objects`` do not show.
        config: How long, how fast.
        checkpoint: Where to keep the state, to go on after a kill.
        progress: Told of every step.

    Returns:
        The encoder, and how well it names what it has not seen.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        namer = ObjectNamer(build_tiny_image_encoder(config.seed), len(SHAPES), len(HUES))

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[NamedBatch]:
        order = MixedBatches([range(len(objects))], config.batch_size, config.seed, start, stop, parts)
        for draws in order:
            yield _collated([(objects[place], flip) for place, flip in draws])

    def loss_of(batch: NamedBatch, _: Share) -> torch.Tensor:
        return naming_loss(namer, batch)

    train(namer, loss_of, batches, config, checkpoint, progress)
    return namer.encoder, _score(namer, _collated([(each, False) for each in unseen]))


def _score(namer: ObjectNamer, batch: NamedBatch) -> NamingScore:
    shape, color = naming_accuracy(namer, batch)
    chances = [float(torch.bincount(names).max()) / len(names) for names in (batch.shape, batch.color)]
    return NamingScore(shape, color, *chances)


def _collated(draws: Sequence[tuple[NamedObject, bool]]) -> NamedBatch:
    step = {True: -1, False: 1}
    return NamedBatch(
        source=pictures_to_tensor([each.source[:, :: step[flip]] for each, flip in draws]),
        mask=masks_to_tensor([each.mask[:, :: step[flip]] for each, flip in draws]),
        shape=torch.tensor([each.shape for each, _ in draws]),
        color=torch.tensor([each.color for each, _ in draws]),
    )
