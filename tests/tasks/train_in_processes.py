"""Trains in forked processes that speak gloo to one another; what `test_many_processes` starts and reads.

`python tests/tasks/train_in_processes.py FOLDER` does what FOLDER/runs.json says, one run after the other.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState, debug_launcher
from torch import nn

from data_specs.shard import EncodedSample
from data_specs.triplet import Triplet
from models.objectclear.attention import capture_object_attention
from models.objectclear.network import build_tiny_image_encoder, build_tiny_object_clear
from models.rorem.discriminator import DiscriminatorConfig, DiscriminatorNetwork
from models.rorem.lcm_lora import LcmLoraConfig, student_of
from models.training.distributed import BatchSlice, DistributedConfig
from models.training.loop import TrainingConfig, train
from models.training.losses.discriminator import ReviewBatch, discriminator_loss
from models.training.losses.lcm import LcmLossConfig, lcm_loss
from models.training.losses.object_clear import ObjectClearLossConfig, object_clear_loss
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.objectclear.train_model import foreground_batch
from tasks.registry.store import network_at
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import TripletSamples, drawn_triplets, triplet_batches

OPEN = ExitStack()
"""What stays open as long as the process."""
LOSS = {"change_weight": 4, "noisy_fraction": 0.5}


class ReadLog(ShardReader):
    """A reader that notes what it has read."""

    log: list[str]

    def __getitem__(self, position: int) -> EncodedSample:
        sample = super().__getitem__(position)
        self.log.append(sample.key)
        return sample


def main(folder: Path) -> None:
    """Do the runs; a process that kills itself is one of them."""
    for run in json.loads((folder / "runs.json").read_text()):
        if "copy_of" in run:
            shutil.copyfile(folder / run["copy_of"], folder / run["checkpoint"])
        if run["processes"] == 1:
            process = multiprocessing.get_context("fork").Process(target=one, args=(folder, run))
            process.start()
            process.join()
            continue
        try:
            debug_launcher(one, (folder, run), run["processes"])
        except Exception as error:
            if "SIGKILL" not in str(error):
                raise


def one(folder: Path, run: dict[str, Any]) -> None:
    """One process of one run: writes what it read, and the first one what was learnt."""
    torch.set_num_threads(1)
    workspace = Workspace.open(Path(run["workspace"]))
    training = TrainingConfig.model_validate(run["training"])
    distributed = DistributedConfig.model_validate(run.get("distributed", {}))
    checkpoint = folder / run["checkpoint"] if "checkpoint" in run else None
    with ReadLog(workspace, workspace.ledger().shards.all(stage="triplets")[:1]) as reader:
        reader.log = []
        module, loss_of, batches = KINDS[run["kind"]](
            workspace, run, training, TripletSamples(reader, range(len(reader)))
        )

        def progress(step: int, _total: int, _loss: float) -> None:
            if step == run.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)

        losses = train(module, loss_of, batches, training, checkpoint, progress, distributed)
        rank = PartialState().process_index
        names = [name for name, p in module.named_parameters() if p.requires_grad]
        told = {"read": reader.log, "losses": losses, "names": names}
        (folder / f"{run['name']}.{rank}.json").write_text(json.dumps(told))
    if rank == 0:
        weights = [p.detach().double().flatten() for p in module.parameters() if p.requires_grad]
        (folder / f"{run['name']}.weights").write_bytes(torch.cat(weights).numpy().tobytes())


def remover(workspace: Workspace, run: dict[str, Any], training: TrainingConfig, samples: TripletSamples):
    network = network_at(Path(run["network"]))
    config = RemoverLossConfig.model_validate(LOSS)

    def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return remover_loss(network, batch, config, batch_slice)

    groups = [range(len(samples))]
    return network.unet, loss_of, triplet_batches(samples, groups, training.batch_size, training.seed)


def object_clear(
    workspace: Workspace, run: dict[str, Any], training: TrainingConfig, samples: TripletSamples
):
    network = build_tiny_object_clear(network_at(Path(run["network"])), build_tiny_image_encoder(0), 0)
    module = nn.ModuleDict({"unet": network.unet, "object_token": network.object_token})
    config = ObjectClearLossConfig.model_validate({**LOSS, "mask_loss_weight": 0.5})

    def loss_of(triplets: Sequence[Triplet], batch_slice: BatchSlice) -> torch.Tensor:
        return object_clear_loss(network, foreground_batch(triplets, batch_slice), config, batch_slice, maps)

    maps = OPEN.enter_context(capture_object_attention(network.unet, network.prompt.object_position))
    groups = [range(len(samples))]
    return module, loss_of, drawn_triplets(samples, groups, training.batch_size, training.seed)


def discriminator(
    workspace: Workspace, run: dict[str, Any], training: TrainingConfig, samples: TripletSamples
):
    """Pairs as reviews: of light images the ground truth, YES; of dark ones the source, NO."""
    config = DiscriminatorConfig(head="pooled", head_width=16)
    module = DiscriminatorNetwork(network_at(Path(run["network"])), config, seed=0)

    def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
        yes = (batch.source.mean((1, 2, 3)) > 0).float()
        removal = torch.where(yes[:, None, None, None] > 0, batch.ground_truth, batch.source)
        return discriminator_loss(module, ReviewBatch(batch.source, batch.mask, removal, yes), batch_slice)

    groups = [range(len(samples))]
    return module, loss_of, triplet_batches(samples, groups, training.batch_size, training.seed)


def lcm(workspace: Workspace, run: dict[str, Any], training: TrainingConfig, samples: TripletSamples):
    """A student of the remover; its frozen weights are the teacher's own tensors."""
    teacher = network_at(Path(run["network"]))
    student = student_of(teacher.unet, LcmLoraConfig(rank=4), seed=0)
    config = LcmLossConfig(guidance_low=2, guidance_high=5)

    def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return lcm_loss(teacher, student, batch, config, batch_slice)

    groups = [range(len(samples))]
    return student, loss_of, triplet_batches(samples, groups, training.batch_size, training.seed)


KINDS = {"remover": remover, "object_clear": object_clear, "discriminator": discriminator, "lcm": lcm}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
