"""Train the tiny Depth Anything on synthetic scenes, and compare it with the row as depth."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DPTImageProcessorPil

from models.perception.depth_anything import (
    TINY_PX,
    DepthAnythingConfig,
    DepthAnythingEstimator,
    tiny_depth_anything,
)
from models.perception.weights import pretrained_files
from models.training.distributed import BatchSlice
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.perception import DepthBatch, inverse_depth_loss
from tasks.storage.atomic_files import write_durably
from tasks.training.perception.samples import SeenSurfaces, synthetic_surfaces, varied_batches

DEPTH_ANYTHING_TRAINING = TrainingConfig(
    steps=1200, batch_size=12, learning_rate=1e-3, warmup_steps=100, ema_decay=0.995, checkpoint_every=250
)
_IMAGES = 3000
_IMAGENET_MEAN, _IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def train_depth_anything(
    training: TrainingConfig, folder: Path, checkpoint: Path | None = None, progress: Progress | None = None
) -> None:
    """Train on synthetic scenes. Write the model and its image preprocessing into ``folder``."""
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = tiny_depth_anything()
    preparation = DPTImageProcessorPil(
        size={"height": TINY_PX, "width": TINY_PX},
        image_mean=list(_IMAGENET_MEAN),
        image_std=list(_IMAGENET_SPREAD),
    )

    def collated(images: list[SeenSurfaces]) -> DepthBatch:
        shown = preparation(images=[each.image for each in images], return_tensors="pt")
        return DepthBatch(
            shown["pixel_values"], torch.from_numpy(1 / np.stack([each.depth for each in images]))
        )

    def loss_of(batch: DepthBatch, _: BatchSlice) -> torch.Tensor:
        return inverse_depth_loss(network, batch)

    images = [synthetic_surfaces(index, "train", TINY_PX) for index in range(_IMAGES)]
    batches = varied_batches(images, training.batch_size, training.seed, collated)
    train(network, loss_of, batches, training, checkpoint, progress)
    for name, content in pretrained_files(network, preparation).items():
        write_durably(folder / name, content)


def measure_depth_anything(folder: Path, scenes: int) -> dict[str, float]:
    """Rank correlation and relative error over ``scenes`` unseen synthetic scenes, beside trivial guesses.

    Medians over images of four values. Spearman's correlation of found and true depth. The same for the row
    as depth (higher is farther). The mean of |found − true| / true where the truth is no sky. The same error
    if every pixel gets the median of all true depths.
    """
    estimator = DepthAnythingEstimator(DepthAnythingConfig(weights=folder))
    seen = [synthetic_surfaces(index, "measure", TINY_PX) for index in range(scenes)]
    found = [estimator.estimate(each.image) for each in seen]
    rows = np.broadcast_to(-np.arange(TINY_PX, dtype=np.float32)[:, None], (TINY_PX, TINY_PX))
    near = [each.depth[np.isfinite(each.depth)] for each in seen]
    middle = np.median(np.concatenate(near))
    return {
        "rank correlation": _median(
            rank_correlation(depth, each.depth) for depth, each in zip(found, seen, strict=True)
        ),
        "rank correlation of the row": _median(rank_correlation(rows, each.depth) for each in seen),
        "relative error": _median(
            relative_error(depth, each.depth) for depth, each in zip(found, seen, strict=True)
        ),
        "relative error of one depth": _median(
            relative_error(np.full_like(each.depth, middle), each.depth) for each in seen
        ),
    }


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Spearman's correlation of two H×W fields. Equal values share their mean rank; inf is last."""
    return float(np.corrcoef(_ranks(one.ravel()), _ranks(other.ravel()))[0, 1])


def relative_error(found: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Mean of |found − true| / true over pixels of finite true depth. Found sky counts as 100 m."""
    known = np.isfinite(true)
    return float((np.abs(np.minimum(found[known], 100) - true[known]) / true[known]).mean())


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
