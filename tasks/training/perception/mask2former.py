"""Train the tiny Mask2Former on synthetic scenes, and compare it with the majority class."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Mask2FormerImageProcessorPil

from data_specs.detection import ClassMap, SurfaceClass
from models.perception.mask2former import TINY_PX, Mask2FormerConfig, Mask2FormerSegmenter, tiny_mask2former
from models.perception.weights import pretrained_files
from models.training.distributed import BatchSlice
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.perception import SurfaceBatch, surface_loss
from tasks.storage.atomic_files import write_durably
from tasks.training.perception.samples import SeenSurfaces, synthetic_surfaces, varied_batches

MASK2FORMER_TRAINING = TrainingConfig(
    steps=1200, batch_size=16, learning_rate=1e-3, warmup_steps=100, ema_decay=0.995, checkpoint_every=250
)
_IMAGES = 3000


def train_mask2former(
    training: TrainingConfig, folder: Path, checkpoint: Path | None = None, progress: Progress | None = None
) -> None:
    """Train on synthetic scenes. Write the model and its image preprocessing into ``folder``."""
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = tiny_mask2former()
    preparation = Mask2FormerImageProcessorPil(
        size={"height": TINY_PX, "width": TINY_PX}, do_resize=True, size_divisor=0
    )

    def collated(images: list[SeenSurfaces]) -> SurfaceBatch:
        shown = preparation(images=[each.image for each in images], return_tensors="pt")
        classes = np.stack([each.classes for each in images]).astype(np.int64)
        return SurfaceBatch(shown["pixel_values"], torch.from_numpy(classes))

    def loss_of(batch: SurfaceBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return surface_loss(network, batch, batch_slice.generator)

    images = [synthetic_surfaces(index, "train", TINY_PX) for index in range(_IMAGES)]
    batches = varied_batches(images, training.batch_size, training.seed, collated)
    train(network, loss_of, batches, training, checkpoint, progress)
    for name, content in pretrained_files(network, preparation).items():
        write_durably(folder / name, content)


def measure_mask2former(folder: Path, scenes: int) -> dict[str, float]:
    """IoU of each class over ``scenes`` unseen synthetic scenes, their mean, and the majority class's."""
    segmenter = Mask2FormerSegmenter(Mask2FormerConfig(weights=folder))
    confusion = np.zeros((len(SurfaceClass), len(SurfaceClass)), np.int64)
    for index in range(scenes):
        seen = synthetic_surfaces(index, "measure", TINY_PX)
        confusion += confusion_of(segmenter.classify(seen.image), seen.classes)
    ious = class_ious(confusion)
    majority = np.zeros_like(confusion)
    majority[:, confusion.sum(axis=1).argmax()] = confusion.sum(axis=1)
    return {
        **{f"{surface.name.lower()} iou": float(ious[surface]) for surface in SurfaceClass},
        "mean iou": float(ious.mean()),
        "mean iou of the majority class": float(class_ious(majority).mean()),
        "pixels right": float(np.trace(confusion) / confusion.sum()),
        "pixels right by the majority class": float(np.trace(majority) / majority.sum()),
    }


def confusion_of(found: ClassMap, true: ClassMap) -> NDArray[np.int64]:
    """4×4 counts of pixels: rows are true classes, columns are found ones."""
    pairs = true.astype(np.int64).ravel() * len(SurfaceClass) + found.ravel()
    return np.bincount(pairs, minlength=len(SurfaceClass) ** 2).reshape(len(SurfaceClass), -1)


def class_ious(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of each class, from K×K counts. NaN for a class without pixels."""
    both = np.diag(confusion).astype(np.float64)
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)
