"""Compare a remover distilled to 4 steps with its 50-step teacher. Goal: success lost <= 10 %, time <= 1/4.

``ratio`` is the time of an image in 4 steps, divided by that in 50; with several ways to predict, the
greatest.

The default is too short for a teacher that succeeds. It shows only the ratio. For the success use
`--pairs 1500 --tested 300 --teacher-steps 300 --steps 1000`, which takes an hour and more.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.assessment import QualityConfig
from data_specs.triplet import Triplet
from data_specs.version import DatasetVersion
from flows.objectclear.train_model import render_pairs, unseen_pairs
from models.diffusion.inpainting import InpaintingNetwork
from models.profiles import PROFILES
from models.rorem.lcm_lora import LcmLoraConfig, lcm_schedule
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.distributed import training_device
from models.training.loop import TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from tasks.evaluation.evaluate import evaluate
from tasks.registry.removers import RemoverRef
from tasks.registry.store import BASE_FOLDER, keep_model, network_at
from tasks.rorem.distill import Distillation, distil_remover
from tasks.rorem.train_remover import RemoverTraining, train_remover
from tasks.storage.dataset.versions import create_version
from tasks.storage.workspace import Workspace

MANY, FEW = SamplingConfig(steps=50), SamplingConfig(steps=4)


def told(done: int, total: int, loss: float) -> None:
    """Print a line on standard error now and then."""
    if done % 50 == 0 or done == total:
        Console(stderr=True).print(f"  step {done} of {total}, loss {loss:.4f}")


def beginning(workspace: Workspace, predicts: str) -> RemoverRef:
    """The shipped base, set to predict the clean latent (as it was trained) or the noise."""
    network = network_at(BASE_FOLDER)
    settings = cast(Any, {**network.scheduler.config, "prediction_type": predicts})
    network.scheduler = cast(DDIMScheduler, DDIMScheduler.from_config(settings))
    folder = keep_model(workspace, f"base-{predicts}", network.save)
    return RemoverRef(hash=InpaintingRemover(network, MANY).model_hash, folder=str(folder), sampling=MANY)


def teacher_of(
    workspace: Workspace, version: DatasetVersion, predicts: str, training: TrainingConfig
) -> RemoverRef:
    """The base, trained on pairs with their shadows, for removal in 50 steps."""
    work = RemoverTraining(
        name="teacher",
        parent=beginning(workspace, predicts),
        version=version.number,
        version_sha256=version.sha256,
        training=training,
        loss=PROFILES["tiny"].remover_loss,
        sampling=MANY,
    )
    return train_remover(workspace, work, told).remover


def distilled(
    workspace: Workspace,
    version: DatasetVersion,
    teacher: RemoverRef,
    training: TrainingConfig,
    loss: LcmLossConfig,
    lora: LcmLoraConfig,
) -> RemoverRef:
    """The teacher distilled to four steps, as `cleanplate train distilled` does it."""
    work = Distillation(
        name="student",
        parent=teacher,
        version=version.number,
        version_sha256=version.sha256,
        training=training,
        loss=loss,
        lora=lora,
        sampling=FEW,
    )
    return distil_remover(workspace, work, told).remover


def measured(
    network: InpaintingNetwork, sampling: SamplingConfig, unseen: Sequence[Triplet]
) -> dict[str, Any]:
    """Success with its interval, dB, and seconds per image. The seconds include the measuring."""
    remover = InpaintingRemover(network.to(training_device()), sampling)
    evaluate(remover, unseen[:32], QualityConfig())  # the first pass on a device is slow
    began = time.perf_counter()
    found = evaluate(remover, unseen, QualityConfig())
    seconds = time.perf_counter() - began
    network.to("cpu")
    return {
        "success": found.success_rate,
        "low": found.success_low,
        "high": found.success_high,
        "psnr_effect": found.psnr_effect,
        "psnr_background": found.psnr_background,
        "ms": 1000 * seconds / len(unseen),
        "faults": found.faults,
    }


def compared(
    teacher: InpaintingNetwork, student: InpaintingNetwork, unseen: Sequence[Triplet]
) -> dict[str, Any]:
    """The teacher with many and few steps, undistilled with either schedule, and the student."""
    undistilled = replace(teacher, scheduler=lcm_schedule(teacher))
    rows = {
        "teacher, 50 steps": measured(teacher, MANY, unseen),
        "teacher, 4 steps": measured(teacher, FEW, unseen),
        "teacher, 4 steps of LCM's": measured(undistilled, FEW, unseen),
        "distilled, 4 steps of LCM's": measured(student, FEW, unseen),
    }
    many, few = rows["teacher, 50 steps"], rows["distilled, 4 steps of LCM's"]
    return {
        "rows": rows,
        "success_lost": 1 - few["success"] / many["success"] if many["success"] else None,
        "time_ratio": few["ms"] / many["ms"],
    }


@ends_in_time
def main() -> None:
    """Train a teacher, distil it, compare, and print a table or JSON."""
    tiny = PROFILES["tiny"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predicts", choices=("sample", "epsilon"), nargs="+", default=["sample"])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--tested", type=int, default=40)
    parser.add_argument("--teacher-steps", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=tiny.distillation.learning_rate)
    parser.add_argument("--rank", type=int, default=tiny.lora.rank)
    parser.add_argument("--workspace", type=Path, help="Keeps shards and networks.")
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    training = TrainingConfig(steps=asked.teacher_steps, learning_rate=1e-3)
    student = tiny.distillation.model_copy(
        update={"steps": asked.steps, "learning_rate": asked.learning_rate}
    )
    lora = LcmLoraConfig(rank=asked.rank)
    figures: dict[str, Any] = {"asked": {**vars(asked), "workspace": None}, "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(asked.workspace or folder)
        shards = render_pairs(workspace, asked.pairs)
        selection = [(ref, None) for ref in shards]
        version = workspace.ledger().versions.current() or create_version(workspace, selection, None, "pairs")
        unseen = unseen_pairs(asked.tested)
        for predicts in asked.predicts:
            teacher = teacher_of(workspace, version, predicts, training)
            made = distilled(workspace, version, teacher, student, tiny.distillation_loss, lora)
            networks = [network_at(workspace.root / ref.folder) for ref in (teacher, made)]
            figures[predicts] = compared(networks[0], networks[1], unseen)
    figures["ratio"] = max(figures[predicts]["time_ratio"] for predicts in asked.predicts)
    print(json.dumps(figures, indent=2)) if asked.json else show(figures, asked.predicts)


def show(figures: dict[str, Any], kinds: Sequence[str]) -> None:
    """Print a table."""
    for predicts in kinds:
        table = Table("way", "success", "95 %", "dB effect", "dB rest", "ms", title=f"predicts {predicts}")
        for way, row in figures[predicts]["rows"].items():
            numbers = [f"{row[name]:.2f}" for name in ("psnr_effect", "psnr_background", "ms")]
            table.add_row(way, f"{row['success']:.1%}", f"{row['low']:.1%} – {row['high']:.1%}", *numbers)
        Console().print(table)
        lost, ratio = figures[predicts]["success_lost"], figures[predicts]["time_ratio"]
        words = "the teacher never succeeds" if lost is None else f"success lost {lost:.1%}"
        Console().print(f"{words} (asked for: at most 10 %), time ratio {ratio:.3f} (at most 0.25)")
    Console().print(figures["machine"])


if __name__ == "__main__":
    main()
