"""Measure what `compile` does to the tiny remover's steps: their time, and after how many it pays.

``ratio`` is the time of a step without it, divided by that with it.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator, Sequence

import torch

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from models.training.distributed import DistributedConfig, training_device
from models.training.loop import TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.registry.store import BASE_FOLDER, network_at


@ends_in_time
def main() -> None:
    """Train the tiny remover both ways, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begin = network_at(BASE_FOLDER)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, asked.batch, 3, 64, 64, generator=generator) * 2 - 1
    mask = (torch.rand(asked.batch, 1, 64, 64, generator=generator) < 0.2).float()
    batch = TripletBatch(images[0], mask, images[1])

    def batches(start: int, stop: int, _parts: Sequence[slice]) -> Iterator[TripletBatch]:
        yield from [batch] * (stop - start)

    def trained(distributed: DistributedConfig) -> tuple[list[float], list[float]]:
        """Seconds of each step, and the losses."""
        network = copy.deepcopy(begin).to(training_device())
        told = [time.perf_counter()]
        losses = train(
            network.unet,
            lambda b, share: remover_loss(network, b, RemoverLossConfig(), share),
            batches,
            TrainingConfig(steps=asked.steps, batch_size=asked.batch),
            progress=lambda *_: told.append(time.perf_counter()),
            distributed=distributed,
        )
        return [after - before for before, after in zip(told, told[1:], strict=False)], losses

    plain, plain_losses = trained(DistributedConfig())
    compiled, losses = trained(DistributedConfig(compile=True))
    settled = asked.steps // 4
    each = {
        "plain": statistics.median(plain[settled:]),
        "compiled": statistics.median(compiled[settled:]),
    }
    spent = sum(compiled[:settled]) - settled * each["compiled"]
    saved = each["plain"] - each["compiled"]
    figures = {
        "ms_a_step": {name: seconds * 1e3 for name, seconds in each.items()},
        "ratio": each["plain"] / each["compiled"],
        "compiling_s": spent,
        "pays_after_steps": spent / saved if saved > 0 else None,
        "losses_apart": max(abs(a - b) / a for a, b in zip(plain_losses, losses, strict=True)),
        "machine": machine(),
    }
    if asked.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
