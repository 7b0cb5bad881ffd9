"""Compare ObjectClear with a RORem-style remover that gets only the object mask, also under sloppy masks.

Both are trained from the same base on the same pairs, in the same order, with the same steps. Both remove
from the same unseen pairs, with the same noise, under each mask of `models/images/sloppy_masks.py`. M_fg and
success follow from the pair's own mask, whatever mask was given.

Without fusion a network gets the mask as it is, and its whole image counts. With fusion both run as they are
used. ObjectClear's image is used where it attended and inside the mask. The mask-only remover gets the mask
dilated by 2 px (RORem's fraction, ``AnySizeRemover``), and its image is used there.

``ratio`` is ObjectClear's lead in dB inside M_fg without fusion: the mean of the shifted and the eroded mask,
median over the seeds. Below 0 it loses.

The default, one seed of 100 steps on 500 pairs, takes minutes and shows only that both ways run. `--full`
takes the sizes that made the shipped network, and hours. The image encoder is always the shipped one.

Run: python -m benchmarks.object_clear --seeds 0 1 2 --steps 200 --workspace FOLDER [--json]
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import CLIPVisionModelWithProjection

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.assessment import QualityConfig
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from flows.objectclear.train_model import ObjectClearConfig, made_network, render_pairs, unseen_pairs
from models.diffusion.inpainting import InpaintingNetwork, load_network
from models.images.any_size import AnySizeRemover, short_side_of
from models.images.sloppy_masks import SLOPPY_MASKS
from models.metrics.psnr import psnr
from models.objectclear.network import build_tiny_object_clear, load_object_clear
from models.objectclear.pipeline import ObjectClearPipeline
from models.objectclear.remover import ObjectClearRemover
from models.protocols import RemovalModel
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.distributed import BatchSlice
from models.training.loop import train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.evaluation.evaluate import removals_of
from tasks.evaluation.success import assess
from tasks.objectclear.train_model import PlainObjectClear, attention_iou
from tasks.registry.removers import OBJECT_CLEAR_FOLDER
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import TripletSamples, triplet_batches
from tasks.training.progress import training_progress
from tasks.training.run import TrainedWeights, keep_weights, run_training

Figures = dict[str, Any]
Removers = dict[str, dict[str, RemovalModel]]
"""By way, then by ``plain`` (without fusion) and ``fused``."""
WAYS = {"object_clear": "ObjectClear", "mask_only": "mask only"}
_SMALL = {"pairs": 500, "tested": 48}
_SMALL_TRAINING = {"steps": 100, "batch_size": 8}
_STEPS = 4
"""Denoising steps of both removers."""
_HARD = ("shifted 2 px", "eroded 2 px")
"""The masks of ``ratio``."""


def mask_only_network(
    config: ObjectClearConfig, workspace: Workspace, shards: Sequence[ShardRef]
) -> InpaintingNetwork:
    """RORem's remover, trained from ObjectClear's base on its pairs, with its steps and loss weights.

    It is trained once a workspace and set of settings, and continues after a kill.
    """
    loss = RemoverLossConfig(
        change_weight=config.loss.change_weight, noisy_fraction=config.loss.noisy_fraction
    )
    training = config.training
    digest = derive_key("mask only", config.pairs, training.model_dump_json(), loss.model_dump_json())

    def fit(checkpoint: Path) -> InpaintingNetwork:
        network = network_at(BASE_FOLDER)

        def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
            return remover_loss(network, batch, loss, batch_slice)

        with ShardReader(workspace, shards) as reader, training_progress("training mask only") as progress:
            samples = TripletSamples(reader, range(len(reader)))
            batches = triplet_batches(samples, [range(len(samples))], training.batch_size, training.seed)
            train(network.unet, loss_of, batches, training, checkpoint, progress)
        return network

    def keep(network: InpaintingNetwork) -> TrainedWeights:
        return keep_weights(workspace, digest, network.save)

    trained = run_training(workspace, digest, TrainedWeights, fit, keep)
    return load_network(workspace.fetched(trained.folder))


def trained_removers(
    config: ObjectClearConfig,
    workspace: Workspace,
    shards: Sequence[ShardRef],
    encoder: CLIPVisionModelWithProjection,
    shipped: bool = False,
) -> Removers:
    """Both removers, trained equally, with and without fusion. A shipped ObjectClear is not trained again."""
    if shipped:
        ours = load_object_clear(OBJECT_CLEAR_FOLDER)
    else:
        ours = made_network(config, workspace, shards, encoder)
    plain = InpaintingRemover(mask_only_network(config, workspace, shards), SamplingConfig(steps=_STEPS))
    pipeline = ObjectClearPipeline.of_network(ours, guidance_scale=1.0, num_inference_steps=_STEPS)
    side_px = short_side_of(plain.network.unet, plain.network.vae)
    return {
        "object_clear": {
            "plain": PlainObjectClear(ours, _STEPS),
            "fused": ObjectClearRemover(pipeline),
        },
        "mask_only": {"plain": plain, "fused": AnySizeRemover(plain, side_px)},
    }


def measured(remover: RemovalModel, given: Sequence[Triplet], unseen: Sequence[Triplet]) -> Figures:
    """Means over the pairs, and ``each``: the dB inside M_fg of every pair.

    Args:
        remover: Removes from ``given``.
        given: The pairs with the masks that the remover gets.
        unseen: The same pairs with their own masks, which decide M_fg and success.
    """
    removals = removals_of(remover, given)
    pairs = list(zip(removals, unseen, strict=True))
    assessed = [assess(r, t.source, t.mask, t.ground_truth, QualityConfig()) for r, t in pairs]
    whole = [psnr(r, t.ground_truth, np.ones_like(t.mask)) for r, t in pairs]
    return {
        "psnr_effect": statistics.fmean(a.psnr_effect for a in assessed),
        "psnr": statistics.fmean(whole),
        "psnr_background": statistics.fmean(a.psnr_background for a in assessed),
        "success": statistics.fmean(a.success for a in assessed),
        "each": [a.psnr_effect for a in assessed],
    }


def under_each_mask(removers: Removers, unseen: Sequence[Triplet]) -> Figures:
    """The figures by mask, way and fusion, and ObjectClear's lead in dB inside M_fg.

    ``lead_95`` is half the width of its 95 % interval over the pairs.
    """
    rows: Figures = {}
    for name, draw in SLOPPY_MASKS.items():
        given = [replace(triplet, mask=draw(triplet.mask)) for triplet in unseen]
        row: Figures = {
            way: {fusion: measured(remover, given, unseen) for fusion, remover in both.items()}
            for way, both in removers.items()
        }
        ours, others = (np.array(row[way]["plain"]["each"]) for way in WAYS)
        lead = ours - others
        row["lead"] = float(lead.mean())
        row["lead_95"] = float(1.96 * lead.std() / np.sqrt(len(lead)))
        rows[name] = row
    return rows


def compared(
    seeds: Sequence[int], config: ObjectClearConfig, workspace: Workspace, shipped: bool = False
) -> Figures:
    """Both ways with every seed."""
    encoder = load_object_clear(OBJECT_CLEAR_FOLDER).image_encoder
    shards, unseen = render_pairs(workspace, config.pairs), unseen_pairs(config.tested)
    rows: list[Figures] = []
    for seed in seeds:
        training = config.training.model_copy(update={"seed": seed})
        seeded = config.model_copy(update={"training": training})
        removers = trained_removers(seeded, workspace, shards, encoder, shipped)
        ours = removers["object_clear"]["plain"]
        assert isinstance(ours, PlainObjectClear)
        untrained = PlainObjectClear(build_tiny_object_clear(network_at(BASE_FOLDER), encoder, seed))
        rows.append(
            {
                "seed": seed,
                "iou_before": attention_iou(untrained, unseen),
                "iou_after": attention_iou(ours, unseen),
                "masks": under_each_mask(removers, unseen),
            }
        )
    leads = [statistics.fmean(row["masks"][name]["lead"] for name in _HARD) for row in rows]
    return {
        "ratio": statistics.median(leads),
        "config": config.model_dump(mode="json"),
        "seeds": rows,
        "machine": machine(),
    }


def small_config() -> ObjectClearConfig:
    """Sizes of a few minutes."""
    shipped = ObjectClearConfig()
    training = shipped.training.model_copy(update=_SMALL_TRAINING)
    return shipped.model_copy(update={**_SMALL, "training": training})


def show(figures: Figures) -> None:
    """Print a row for each mask and way, means over the seeds."""
    fields = ("psnr_effect", "psnr", "psnr_background", "success")
    heads = ("dB M_fg", "dB image", "dB rest", "success")
    table = Table("mask", "way", *heads, *(f"{head}, fused" for head in heads), title=__doc__)
    for name in SLOPPY_MASKS:
        for way, label in WAYS.items():
            numbers = [
                statistics.fmean(row["masks"][name][way][fusion][field] for row in figures["seeds"])
                for fusion in ("plain", "fused")
                for field in fields
            ]
            table.add_row(name, label, *(f"{number:.2f}" for number in numbers))
    Console().print(table)
    for row in figures["seeds"]:
        leads = ", ".join(f"{n} {r['lead']:+.2f} ± {r['lead_95']:.2f}" for n, r in row["masks"].items())
        ious = f"attention IoU {row['iou_before']:.3f} → {row['iou_after']:.3f}"
        Console().print(f"seed {row['seed']}: {ious}; lead in dB inside M_fg: {leads}")
    Console().print(f"ratio (lead, shifted and eroded): {figures['ratio']:.2f} dB\n{figures['machine']}")


@ends_in_time
def main() -> None:
    """Compare, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--full", action="store_true", help="The shipped network's sizes. Takes hours.")
    parser.add_argument("--steps", type=int, help="Of each training; 100, with --full the shipped network's.")
    parser.add_argument("--workspace", type=Path, help="Keeps the pairs and the trained networks.")
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    parser.add_argument(
        "--shipped",
        action="store_true",
        help="With --full: measure the shipped ObjectClear, and train the mask-only remover as long.",
    )
    asked = parser.parse_args()
    if asked.shipped and not asked.full:
        parser.error("--shipped needs --full: the shipped network had these steps and pairs")
    config = ObjectClearConfig() if asked.full else small_config()
    if asked.steps is not None:
        training = config.training.model_copy(update={"steps": asked.steps})
        config = config.model_copy(update={"training": training})
    with tempfile.TemporaryDirectory() as folder:
        figures = compared(asked.seeds, config, Workspace.open(asked.workspace or folder), asked.shipped)
    if asked.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
