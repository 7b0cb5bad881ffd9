"""Measure what the object token's maps cost a U-Net step, compared with every map. Goal: ratio <= 1.02.

The default measures the tiny U-Net. `--block` measures one full-size block of SDXL too, which takes minutes
more. ``ratio`` is the largest of the steps'.

Sampling captures the first layer, as `remove` does in its last step. Sampling with every layer has its own
row. Training captures every layer and runs backward through the mask loss.

`ratio` compares undisturbed steps. Each is the sum of the 10 % quantiles of its pieces (`_pieces.py`).
`whole` is the median of the rounds' ratios of whole steps. On a shared machine a step differs by a tenth from
the next. `whole` therefore has the larger error, but it hides nothing. Errors are standard errors by
resampling of networks.

The position of a step's buffers in memory makes it up to a hundredth faster or slower. In a fixed order each
way would always get the same positions. The ways therefore run in random order, with a buffer of random size
next to each step. The network is made anew every few rounds. `again` is the way without maps a second time,
measured like the others. It shows the remaining effect of noise and positions.
"""

import argparse
import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from scipy.stats import bootstrap
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks._machine import machine
from benchmarks._pieces import Pieces, undisturbed
from benchmarks._processes import ends_in_time
from models.objectclear.attention import Layers, capture_object_attention, cross_attentions
from models.objectclear.network import build_tiny_image_encoder, build_tiny_object_clear
from models.training.losses.object_clear import mask_loss
from tasks.registry.store import BASE_FOLDER, network_at

POSITION = 5
_MEASURED: dict[str, Layers] = {"sampling": "first", "sampling, every layer": "all", "training": "all"}
_RATIOS = ("ratio", "whole")
_ROUNDS = 4
"""Rounds with one network. Only the last of them includes every map, because the time is for the goal."""
Figures = dict[str, Any]


class EveryMap:
    """The straightforward way: attention written out, with the whole map of every cross-attention kept."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for part in (attn.to_q(hidden_states), attn.to_k(words), attn.to_v(words))
        )
        shares = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        if encoder_hidden_states is not None:
            self.maps.append(shares)
        return attn.to_out[0]((shares @ value).transpose(1, 2).flatten(2))


@dataclass(slots=True)
class Case:
    """A network and one pass of it."""

    network: nn.Module
    forward: Callable[[], Tensor]
    foreground: Tensor

    def step(self, train: bool, maps_after: Callable[[], list[Tensor]]) -> None:
        """Run forward. In training also backward, through the mask loss if there are maps."""
        with torch.set_grad_enabled(train):
            output = self.forward()
            maps = maps_after()
            if train:
                loss = output.pow(2).mean()
                if maps:
                    loss = loss + 0.01 * mask_loss(maps, self.foreground)
                loss.backward()
                self.network.zero_grad(set_to_none=True)


def tiny() -> Case:
    """The shipped tiny U-Net's shapes, 16 images of 64 px."""
    network = build_tiny_object_clear(network_at(BASE_FOLDER), build_tiny_image_encoder(0), 0)
    latents, hidden = torch.randn(16, 17, 16, 16), torch.randn(16, 7, 32)
    added = {"text_embeds": torch.randn(16, 32), "time_ids": torch.ones(16, 6)}
    unet = network.unet
    return Case(unet, lambda: unet(latents, 300, hidden, added_cond_kwargs=added).sample, _left(16))


def full_block() -> Case:
    """SDXL's down_blocks.1 alone: 640 wide, two transformers of two layers, 77 words, at 512 px."""
    block = CrossAttnDownBlock2D(
        in_channels=320,
        out_channels=640,
        temb_channels=1280,
        num_layers=2,
        transformer_layers_per_block=2,
        num_attention_heads=10,
        cross_attention_dim=2048,
        use_linear_projection=True,
    )
    holder = nn.ModuleDict({"down_blocks": nn.ModuleList([block])})
    features, step, hidden = torch.randn(1, 320, 32, 32), torch.randn(1, 1280), torch.randn(1, 77, 2048)
    return Case(holder, lambda: block(features, step, encoder_hidden_states=hidden)[0], _left(1))


def _left(count: int) -> Tensor:
    foreground = torch.zeros(count, 1, 64, 64)
    foreground[..., :20] = 1
    return foreground


@dataclass(slots=True)
class Way:
    """How a network's attentions compute, and how to read the kept maps after a pass."""

    processors: dict[Attention, Any]
    maps_after: Callable[[], list[Tensor]]

    def set(self) -> None:
        """Make the network compute in this way from now on."""
        for attention, processor in self.processors.items():
            attention.set_processor(processor)


@contextmanager
def ways_of(network: nn.Module, layers: Layers) -> Iterator[dict[str, Way]]:
    """Without maps (twice), with the object token's maps, with all maps."""
    unet = cast(UNet2DConditionModel, network)
    attentions = [attention for _, attention in cross_attentions(unet).values()]
    plain = Way({each: each.processor for each in attentions}, list)
    keeper = EveryMap()

    def columns() -> list[Tensor]:
        kept, keeper.maps = keeper.maps, []
        sides = [(round(m.shape[2] ** 0.5), -1) for m in kept]
        return [m[..., POSITION].unflatten(-1, side) for m, side in zip(kept, sides, strict=True)]

    with capture_object_attention(unet, POSITION, layers) as maps:

        def column() -> list[Tensor]:
            found = list(maps.values())
            maps.clear()  # the other ways free their graph too
            return found

        yield {
            "without": plain,
            "again": plain,
            "captured": Way({each: each.processor for each in attentions}, column),
            "every map": Way(dict.fromkeys(attentions, keeper), columns),
        }


class Rounds:
    """Seconds of every step's pieces, by network, round and way."""

    def __init__(self, seed: int) -> None:
        self._networks: list[list[dict[str, list[float]]]] = []
        self._rng = np.random.default_rng(seed)

    def add(self, case: Case, ways: dict[str, Way], train: bool) -> None:
        """Run some rounds with one more network, after one that is not counted."""
        pieces, rounds = Pieces(case.network), []
        for number in range(_ROUNDS + 1):
            rounds.append(dict[str, list[float]]())
            for name in self._rng.permutation(list(ways)):
                if name != "every map" or number in (0, _ROUNDS):
                    ways[name].set()
                    beside = torch.empty(int(self._rng.integers(1, 200_000)))
                    with pieces.step() as rounds[-1][name]:
                        case.step(train, ways[name].maps_after)
                    del beside
        self._networks.append(rounds[1:])

    def compared(self, name: str) -> Figures:
        """Compare this way's steps with those without maps, in the rounds that have both."""
        found = [
            np.array([[each[way] for each in rounds if name in each] for way in ("without", name)])
            for rounds in self._networks
        ]

        def undisturbed_ratio(drawn: Any) -> float:
            without, ours = np.concatenate([found[number] for number in drawn], 1)
            return undisturbed(ours) / undisturbed(without)

        def whole_ratio(drawn: Any) -> float:
            without, ours = np.concatenate([found[number].sum(-1) for number in drawn], 1)
            return float(np.median(ours / without))

        every = np.arange(len(found))
        figures: Figures = {"rounds": sum(each.shape[1] for each in found)}
        for key, ratio in (("ratio", undisturbed_ratio), ("whole", whole_ratio)):
            drawn = bootstrap((every,), ratio, vectorized=False, n_resamples=200, method="percentile", rng=0)
            figures |= {key: ratio(every), f"{key}_error": float(drawn.standard_error)}
        return figures

    def seconds(self) -> float:
        """Seconds of an undisturbed step without maps."""
        return undisturbed(np.array([each["without"] for rounds in self._networks for each in rounds]))


def measured(make: Callable[[], Case], train: bool, layers: Layers, seconds: float, seed: int) -> Figures:
    """Time and memory of the ways. The time uses the given seconds, but at least two networks."""
    rounds, began, networks = Rounds(seed), time.monotonic(), 0
    while networks < 2 or time.monotonic() - began < seconds:
        case = seeded(make)
        with ways_of(case.network, layers) as ways:
            rounds.add(case, ways, train)
        networks += 1
    case = seeded(make)
    with ways_of(case.network, layers) as ways:
        peaks = {name: peak_bytes(case, way, train) for name, way in ways.items()}
    figures: Figures = {"seconds": rounds.seconds(), "largest_difference": largest_difference(seeded(make))}
    for name in ("again", "captured", "every map"):
        memory = {"memory": peaks[name] / peaks["without"], "peak_mib": peaks[name] / 2**20}
        figures[name] = rounds.compared(name) | memory
    return figures


def seeded(make: Callable[[], Case]) -> Case:
    """The same random numbers every time."""
    torch.manual_seed(0)
    return make()


def peak_bytes(case: Case, way: Way, train: bool) -> int:
    """Peak of allocated bytes during a step, beyond those before it. Weights do not count."""
    way.set()
    case.step(train, way.maps_after)  # leave out what is made only once
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        case.step(train, way.maps_after)
    results = cast(Any, found.profiler).kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@torch.no_grad()
def largest_difference(case: Case) -> float:
    """Between a captured map and the same column of the whole map."""
    with ways_of(case.network, "all") as ways:
        found = []
        for name in ("captured", "every map"):
            ways[name].set()
            case.forward()
            found.append(ways[name].maps_after())
    return max(float((one - other).abs().max()) for one, other in zip(*found, strict=True))


def keep_the_heap() -> None:
    """Make the allocator keep its memory between steps (glibc's ``mallopt``).

    By chance one way's buffers lie at the top of the heap, are returned and faulted in again. This costs that
    way up to 8 % of a step.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    libc = ctypes.CDLL(None)
    for parameter, size in ((trim_threshold, 2**31 - 1), (top_pad, 2**28), (mmap_threshold, 2**25)):
        if not libc.mallopt(parameter, size):
            raise SystemExit(f"mallopt({parameter}, {size}) is refused: this benchmark wants glibc")


def _told(way: Figures, ratio: str) -> str:
    return f"{way[ratio]:.3f} ± {way[ratio + '_error']:.3f}"


@ends_in_time
def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes",
        type=float,
        default=0.2,
        help="For each of the three or six steps; two networks at least. 5 gives errors of a hundredth.",
    )
    parser.add_argument("--block", action="store_true", help="SDXL's down_blocks.1 at full size too.")
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_the_heap()
    found: dict[str, Figures] = {}
    networks = {"tiny": tiny} | ({"full-size block": full_block} if asked.block else {})
    for name, make in networks.items():
        for step, layers in _MEASURED.items():
            each = measured(make, step == "training", layers, 60 * asked.minutes, seed=len(found))
            found[f"{name}, {step}"] = each
            told = [f"{way} {_told(each[way], 'ratio')}" for way in ("captured", "again")]
            print(f"{name}, {step}: {', '.join(told)}, {each['captured']['rounds']} rounds", file=sys.stderr)
    worst = max(each["captured"]["ratio"] for each in found.values())
    if asked.json:
        print(json.dumps({"ratio": worst, "steps": found, "machine": machine()}, indent=2))
        return
    console = Console(width=max(110, Console().width))
    table = Table("step", "way", "ratio", "whole", "rounds", "memory", "difference")
    for name, each in found.items():
        for way in ("captured", "again", "every map"):
            ours = each[way]
            table.add_row(
                name,
                way,
                *(_told(ours, key) for key in _RATIOS),
                str(ours["rounds"]),
                f"{ours['memory']:.3f}",
                f"{each['largest_difference']:.1e}" if way == "captured" else "",
            )
    console.print(table)
    console.print(f"ratio (the worst): {worst:.3f}\n{machine()}")


if __name__ == "__main__":
    main()
