"""Compare ObjectClear with a RORem-style remover that gets only the object mask: same pairs, same steps.

``ratio`` is the gain in dB inside M_fg, median over the seeds.

The default, one seed of 100 steps on 200 pairs, takes minutes and shows only that both ways run. `--full`
takes the sizes that made the shipped network. The results in docs/experiments/object-clear.md come from
`--full --seeds 0 1 2`, which takes hours.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import CLIPVisionModelWithProjection

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.assessment import QualityConfig
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from flows.objectclear.train_model import (
    ObjectClearConfig,
    made_image_encoder,
    made_network,
    render_pairs,
    unseen_pairs,
)
from models.objectclear.network import build_tiny_object_clear
from models.protocols import RemovalModel
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.evaluation.evaluate import evaluate
from tasks.objectclear.train_model import PlainObjectClear, attention_iou
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import TripletSamples, triplet_batches

Figures = dict[str, Any]
_SMALL_ENCODER_STEPS = 150
_SMALL = {"encoder_objects": 400, "pairs": 200, "tested": 32}


def told(done: int, total: int, loss: float) -> None:
    """Print a line on standard error now and then."""
    if done % 50 == 0 or done == total:
        Console(stderr=True).print(f"  step {done} of {total}, loss {loss:.4f}")


def measured(remover: RemovalModel, unseen: Sequence[Triplet]) -> Figures:
    """PSNR inside M_fg and outside it, and success by ``tasks/evaluation/success.py``."""
    found = evaluate(remover, unseen, QualityConfig())
    return {
        "psnr_effect": found.psnr_effect,
        "psnr_background": found.psnr_background,
        "success": found.success_rate,
        "faults": found.faults,
    }


def object_clear(
    workspace: Workspace,
    shards: Sequence[ShardRef],
    unseen: Sequence[Triplet],
    encoder: CLIPVisionModelWithProjection,
    config: ObjectClearConfig,
) -> Figures:
    """ObjectClear, trained from the base, with its attention before and after."""
    untrained = build_tiny_object_clear(network_at(BASE_FOLDER), encoder, config.training.seed)
    before = attention_iou(PlainObjectClear(untrained), unseen)
    remover = PlainObjectClear(made_network(config, workspace, shards, encoder))
    return {
        "iou_before": before,
        "iou_after": attention_iou(remover, unseen),
        **measured(remover, unseen),
    }


def object_mask_only(
    workspace: Workspace, shards: Sequence[ShardRef], unseen: Sequence[Triplet], config: ObjectClearConfig
) -> Figures:
    """RORem's remover, trained from the same base on the same pairs."""
    network = network_at(BASE_FOLDER)
    loss = RemoverLossConfig(
        change_weight=config.loss.change_weight, noisy_fraction=config.loss.noisy_fraction
    )

    def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return remover_loss(network, batch, loss, batch_slice)

    with ShardReader(workspace, shards) as reader:
        samples = TripletSamples(reader, reader.keys)
        training = config.training
        batches = triplet_batches(samples, [range(len(samples))], training.batch_size, training.seed)
        train(network.unet, loss_of, batches, training, progress=told)
    return measured(InpaintingRemover(network, SamplingConfig()), unseen)


def compared(seeds: Sequence[int], config: ObjectClearConfig, workspace: Workspace) -> Figures:
    """Both ways with every seed. ``ratio`` is the gain in dB inside M_fg, median over the seeds."""
    encoder, naming = made_image_encoder(config, workspace)
    shards, unseen = render_pairs(workspace, config.pairs), unseen_pairs(config.tested)
    rows: list[Figures] = []
    for seed in seeds:
        training: TrainingConfig = config.training.model_copy(update={"seed": seed})
        seeded = config.model_copy(update={"training": training})
        ours = object_clear(workspace, shards, unseen, encoder, seeded)
        plain = object_mask_only(workspace, shards, unseen, seeded)
        rows.append({"seed": seed, "object_clear": ours, "object_mask_only": plain})
        Console(stderr=True).print(json.dumps(rows[-1]))
    gains = [row["object_clear"]["psnr_effect"] - row["object_mask_only"]["psnr_effect"] for row in rows]
    return {
        "ratio": statistics.median(gains),
        "naming": naming.model_dump(),
        "config": config.model_dump(mode="json"),
        "seeds": rows,
        "machine": machine(),
    }


def small_config() -> ObjectClearConfig:
    """Sizes of a few minutes."""
    shipped = ObjectClearConfig()
    encoder = shipped.encoder_training.model_copy(update={"steps": _SMALL_ENCODER_STEPS})
    training = shipped.training.model_copy(update={"steps": 100})
    return shipped.model_copy(update={**_SMALL, "encoder_training": encoder, "training": training})


@ends_in_time
def main() -> None:
    """Compare, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--full", action="store_true", help="The shipped network's sizes. Takes hours.")
    parser.add_argument("--steps", type=int, help="Of each training; 100, with --full the shipped network's.")
    parser.add_argument("--workspace", type=Path, help="Keeps shards, encoder and trained networks.")
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    config = ObjectClearConfig() if asked.full else small_config()
    if asked.steps is not None:
        training = config.training.model_copy(update={"steps": asked.steps})
        config = config.model_copy(update={"training": training})
    with tempfile.TemporaryDirectory() as folder:
        figures = compared(asked.seeds, config, Workspace.open(asked.workspace or folder))
    if asked.json:
        print(json.dumps(figures, indent=2))
        return
    table = Table("seed", "way", "IoU before", "after", "dB M_fg", "dB rest", "success", title=__doc__)
    for row in figures["seeds"]:
        for way in ("object_clear", "object_mask_only"):
            found = row[way]
            ious = [f"{found[k]:.3f}" if k in found else "" for k in ("iou_before", "iou_after")]
            numbers = [f"{found[k]:.2f}" for k in ("psnr_effect", "psnr_background", "success")]
            table.add_row(str(row["seed"]), way, *ious, *numbers)
    Console().print(table)
    Console().print(f"ratio (median gain in dB inside M_fg): {figures['ratio']:.2f}\n{figures['machine']}")


if __name__ == "__main__":
    main()
