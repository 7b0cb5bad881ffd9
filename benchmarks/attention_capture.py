"""What the object token's maps cost a U-Net step, beside keeping every map. Asked for: ratio <= 1.02.

Sampling captures the first layer, training every layer and steps back through the mask loss, as `remove` and
`train` do; sampling with every layer is a row of its own. Each way has a network of its own, its capture open
all the time as in a training, and the ways take a step in turn.

`ratio` is the median of the rounds' ratios of whole steps. On a shared machine a step differs by a tenth from
the next, so two per cent take many hundred rounds to tell: its standard error, by resampling them, stands
beside it. `spans` is told by fewer: the ways differ in the cross-attentions and in the loss, so these spans
are timed each by itself, and what they take more is held against a step's lower quartile. That misses what
the capture may cost elsewhere (caches it fills, its graph's end, two views of a map on the way back), so it
explains the ratio and does not stand in for it.
"""

import argparse
import ctypes
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from scipy.stats import bootstrap
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks._alternate import alternate
from benchmarks._machine import machine
from benchmarks._spans import Spans, lower_quartile
from models.object_attention import Layers, capture_object_attention, cross_attentions
from models.object_clear_sizes import build_tiny_image_encoder, build_tiny_object_clear
from models.training.object_clear_loss import mask_loss
from tasks.model_store import BASE_FOLDER, network_at

POSITION = 5
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

    def attentions(self) -> dict[str, nn.Module]:
        """The cross-attentions."""
        found = cross_attentions(cast(UNet2DConditionModel, self.network))
        return {name: attention for name, (_, attention) in found.items()}

    def keep_everything(self) -> list[Tensor]:
        """From now on every map is kept here."""
        keeper = EveryMap()
        for module in self.network.modules():
            if hasattr(module, "set_processor"):
                cast(Any, module).set_processor(keeper)
        return keeper.maps

    def step(self, train: bool, maps_after: Callable[[], list[Tensor]], spans: Spans) -> None:
        """Forwards; in training backwards too, through the mask loss where there are maps."""
        with torch.set_grad_enabled(train):
            output = self.forward()
            with spans.span("loss, forwards"):
                maps = maps_after()
                if not train:
                    return
                loss = output.pow(2).mean()
                if maps:
                    loss = loss + 0.01 * mask_loss(maps, self.foreground)
            spans.until_gradient("loss, backwards", output)
            loss.backward()
            self.network.zero_grad(set_to_none=True)


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


class Ways:
    """One step each: without maps, with the object token's, with all maps."""

    def __init__(self, make: Callable[[], Case], train: bool, layers: Layers) -> None:
        self._cases = dict[str, Case]()
        for name in ("without", "captured", "every map"):
            torch.manual_seed(0)
            self._cases[name] = make()
        self.spans = {name: Spans(case.attentions()) for name, case in self._cases.items()}
        self._train = train
        self._layers: Layers = layers

    @contextmanager
    def open(self) -> Iterator[dict[str, Callable[[], None]]]:
        """The steps, by name."""
        kept = self._cases["every map"].keep_everything()
        ours = cast(UNet2DConditionModel, self._cases["captured"].network)

        def columns() -> list[Tensor]:
            sides = [(round(m.shape[2] ** 0.5), -1) for m in kept]
            found = [m[..., POSITION].unflatten(-1, s) for m, s in zip(kept, sides, strict=True)]
            kept.clear()
            return found

        with capture_object_attention(ours, POSITION, self._layers) as maps:

            def column() -> list[Tensor]:
                found = list(maps.values())
                maps.clear()  # as the other ways let go of their graph
                return found

            after = {"without": list, "captured": column, "every map": columns}
            yield {name: partial(self._step, name, each) for name, each in after.items()}

    def _step(self, name: str, maps_after: Callable[[], list[Tensor]]) -> None:
        self._cases[name].step(self._train, maps_after, self.spans[name])

    @torch.no_grad()
    def largest_difference(self) -> float:
        """Between a captured map and the same column of the whole."""
        case = self._cases["without"]
        with capture_object_attention(cast(UNet2DConditionModel, case.network), POSITION) as maps:
            case.forward()
        whole = case.keep_everything()
        case.forward()
        pairs = zip(maps.values(), whole, strict=True)
        return max(float((one.flatten(2) - all_[..., POSITION]).abs().max()) for one, all_ in pairs)


def measured(make: Callable[[], Case], train: bool, layers: Layers, runs: int) -> Figures:
    """Time and memory of the three ways, in alternation."""
    ways = Ways(make, train, layers)
    with ways.open() as steps:
        seconds = alternate(steps, runs, time.process_time)
        more = ways.spans["captured"].more_than(ways.spans["without"])
        peaks = {name: peak_bytes(way) for name, way in steps.items()}
    plain = lower_quartile(seconds["without"])
    found: Figures = {
        "spans": 1 + more / plain,
        "seconds": plain,
        "largest_difference": ways.largest_difference(),
    }
    for name in ("captured", "every map"):
        ratios = [b / a for a, b in zip(seconds["without"], seconds[name], strict=True)]
        found[name] = {
            "ratio": statistics.median(ratios),
            "ratio_error": float(
                bootstrap((ratios,), np.median, n_resamples=1000, method="percentile", rng=0).standard_error
            ),
            "memory": peaks[name] / peaks["without"],
            "peak_mib": peaks[name] / 2**20,
        }
    return found


def keep_the_heap() -> None:
    """Have the allocator give no memory back between steps (glibc's ``mallopt``).

    Which way's buffers lie at the heap's top, to be given back and faulted in again, is chance, and costs
    that way up to 8 % of a step.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    libc = ctypes.CDLL(None)
    for parameter, size in ((trim_threshold, 2**31 - 1), (top_pad, 2**28), (mmap_threshold, 2**25)):
        if not libc.mallopt(parameter, size):
            raise SystemExit(f"mallopt({parameter}, {size}) is refused: this benchmark wants glibc")


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=60, help="Rounds of each tiny step, two at least; a third of the block's."
    )
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_the_heap()
    found: dict[str, Figures] = {}
    for name, make, runs in (
        ("tiny", tiny, max(2, asked.runs)),
        ("full-size block", full_block, max(2, asked.runs // 3)),
    ):
        for step, layers in _MEASURED.items():
            each = measured(make, step == "training", layers, runs)
            found[f"{name}, {step}"] = each
            ours = each["captured"]
            told = f"{ours['ratio']:.3f} ± {ours['ratio_error']:.3f}, spans {each['spans']:.3f}"
            print(f"{name}, {step}: {told}", file=sys.stderr)
    worst = max(each["captured"]["ratio"] for each in found.values())
    if asked.json:
        print(json.dumps({"ratio": worst, "steps": found, "machine": machine()}, indent=2))
        return
    table = Table("step", "ratio", "spans", "memory", "every map: ratio", "memory", "difference")
    for name, each in found.items():
        ours, every = each["captured"], each["every map"]
        table.add_row(
            name,
            f"{ours['ratio']:.3f} ± {ours['ratio_error']:.3f}",
            f"{each['spans']:.3f}",
            f"{ours['memory']:.3f}",
            f"{every['ratio']:.3f} ± {every['ratio_error']:.3f}",
            f"{every['memory']:.3f}",
            f"{each['largest_difference']:.1e}",
        )
    Console().print(table)
    Console().print(f"ratio (worst median): {worst:.3f}\n{machine()}")


if __name__ == "__main__":
    main()
