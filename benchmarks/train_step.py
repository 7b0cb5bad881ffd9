"""Time the training loop against a bare PyTorch loop of the same net, loss and batch. Goal: ratio <= 1.05."""

import argparse
import copy
from collections.abc import Iterator, Sequence

import torch

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.registry.store import BASE_FOLDER, network_at

LOSS = RemoverLossConfig()


@ends_in_time
def main() -> None:
    """Train both ways in turn, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = TrainingConfig(steps=asked.steps, schedule="constant", warmup_steps=0)
    begin = network_at(BASE_FOLDER)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, config.batch_size, 3, 64, 64, generator=generator) * 2 - 1
    mask = (torch.rand(config.batch_size, 1, 64, 64, generator=generator) < 0.2).float()
    batch = TripletBatch(images[0], mask, images[1])

    def batches(start: int, stop: int, _parts: Sequence[slice]) -> Iterator[TripletBatch]:
        yield from [batch] * (stop - start)

    def ours() -> None:
        network = copy.deepcopy(begin)
        train(
            network.unet, lambda b, batch_slice: remover_loss(network, b, LOSS, batch_slice), batches, config
        )

    def bare() -> None:
        network = copy.deepcopy(begin)
        network.unet.train()
        parameters = list(network.unet.parameters())
        averages = [p.detach().clone() for p in parameters]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
        for step in range(config.steps):
            loss = remover_loss(network, batch, LOSS, BatchSlice(torch.Generator().manual_seed(step)))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()
            for average, parameter in zip(averages, parameters, strict=True):
                average.lerp_(parameter.detach(), 1 - config.ema_decay)

    seconds = alternate({"train": ours, "bare loop": bare}, asked.runs)
    figures = {**ratio_of(seconds, of="bare loop", to="train"), "machine": machine()}
    report("Steps of the tiny remover, batch 16", seconds, config.steps, figures, asked.json)


if __name__ == "__main__":
    main()
