"""What the object token's maps cost a U-Net step, beside keeping every map. Asked for: ratio <= 1.02.

Sampling captures the first layer, training every layer and steps back through the mask loss, as `remove` and
`train` do; sampling with every layer is a row of its own. The capture is entered once for three steps; a
training enters it once in all.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks._alternate import alternate, ratio_of
from benchmarks._machine import machine
from models.object_attention import Layers, capture_object_attention
from models.object_clear_sizes import build_tiny_image_encoder, build_tiny_object_clear
from models.training.object_clear_loss import mask_loss
from tasks.model_store import BASE_FOLDER, network_at

POSITION = 5
_STEPS = 3
_MEASURED: dict[str, Layers] = {"sampling": "first", "sampling, every layer": "all", "training": "all"}
Figures = dict[str, Any]


class EveryMap:
    """The straightforward way: attention written out, every cross-attention's whole map kept."""

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

    @contextmanager
    def everything(self) -> Iterator[list[Tensor]]:
        """Every map is kept inside."""
        keeper = EveryMap()
        self._process(keeper)
        try:
            yield keeper.maps
        finally:
            self._process(AttnProcessor2_0())

    def _process(self, processor: Any) -> None:
        for module in self.network.modules():
            if hasattr(module, "set_processor"):
                cast(Any, module).set_processor(processor)

    def ways(self, train: bool, layers: Layers) -> dict[str, Callable[[], object]]:
        """Three steps each: without maps, with the object token's, with all maps."""

        def steps(maps_after: Callable[[], list[Tensor]]) -> None:
            for _ in range(_STEPS):
                output = self.forward()
                maps = maps_after()
                if train:
                    loss = output.pow(2).mean()
                    (loss + 0.01 * mask_loss(maps, self.foreground) if maps else loss).backward()
                    self.network.zero_grad(set_to_none=True)

        def without() -> None:
            with torch.set_grad_enabled(train):
                steps(list)

        def captured() -> None:
            unet = cast(UNet2DConditionModel, self.network)
            with torch.set_grad_enabled(train), capture_object_attention(unet, POSITION, layers) as maps:
                steps(lambda: list(maps.values()))

        def everything() -> None:
            with torch.set_grad_enabled(train), self.everything() as kept:
                steps(lambda: columns(kept))

        def columns(kept: list[Tensor]) -> list[Tensor]:
            sides = [(round(m.shape[2] ** 0.5), -1) for m in kept]
            found = [m[..., POSITION].unflatten(-1, s) for m, s in zip(kept, sides, strict=True)]
            kept.clear()
            return found

        return {"without": without, "captured": captured, "every map": everything}

    @torch.no_grad()
    def largest_difference(self) -> float:
        """Between a captured map and the same column of the whole."""
        with capture_object_attention(cast(UNet2DConditionModel, self.network), POSITION) as maps:
            self.forward()
        with self.everything() as whole:
            self.forward()
        pairs = zip(maps.values(), whole, strict=True)
        return max(float((one.flatten(2) - all_[..., POSITION]).abs().max()) for one, all_ in pairs)


def tiny() -> Case:
    """The shipped tiny U-Net's shapes, 16 pictures of 64 px."""
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


def peak_bytes(way: Callable[[], object]) -> int:
    """The most that is allocated at once during a step, beyond what was there: weights do not count."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        way()
    results = cast(Any, found.profiler).kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measured(case: Case, train: bool, layers: Layers, runs: int) -> Figures:
    """Time and memory of the three ways, in alternation."""
    ways = case.ways(train, layers)
    seconds = alternate(ways, runs, time.process_time)
    peaks = {name: peak_bytes(way) for name, way in ways.items()}
    kept = {f"every_{key}": value for key, value in ratio_of(seconds, "without", "every map").items()}
    return {
        **ratio_of(seconds, "without", "captured"),
        **kept,
        "memory_ratio": peaks["captured"] / peaks["without"],
        "every_memory_ratio": peaks["every map"] / peaks["without"],
        "seconds_median": {name: statistics.median(each) for name, each in seconds.items()},
        "peak_mib": {name: peak / 2**20 for name, peak in peaks.items()},
        "largest_difference": case.largest_difference(),
    }


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="Rounds of each step, each with every way.")
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases = {"tiny": tiny(), "full-size block": full_block()}
    found: dict[str, Figures] = {}
    for name, case in cases.items():
        for step, layers in _MEASURED.items():
            each = measured(case, step == "training", layers, asked.runs)
            found[f"{name}, {step}"] = each
            print(f"{name}, {step}: {each['ratio']:.3f}, memory {each['memory_ratio']:.3f}", file=sys.stderr)
    worst = max(each["ratio"] for each in found.values())
    if asked.json:
        print(json.dumps({"ratio": worst, "steps": found, "machine": machine()}, indent=2))
        return
    table = Table("step", "captured ÷ without", "memory", "every map ÷ without", "memory", "difference")
    for name, each in found.items():
        spread = f"{each['ratio']:.3f} ({each['ratio_low']:.3f} to {each['ratio_high']:.3f})"
        rest = [f"{each[key]:.3f}" for key in ("memory_ratio", "every_ratio", "every_memory_ratio")]
        table.add_row(name, spread, *rest, f"{each['largest_difference']:.1e}")
    Console().print(table)
    Console().print(f"ratio (worst median): {worst:.3f}\n{machine()}")


if __name__ == "__main__":
    main()
