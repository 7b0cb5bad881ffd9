"""Time one pass of the full-size U-Net in bfloat16 on this CPU with random weights, and its peak memory.

``ratio`` is the peak memory divided by the size of the weights.

The default is latent 8 (64 px), because a CPU without bfloat16 instructions takes many minutes at 64.

Run: python -m benchmarks.full_unet [--latent 64] [--json]
"""

import argparse
import json
import resource
import time
from typing import Any

import torch

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from models.objectclear.network import build_full_object_clear


@ends_in_time
def main() -> None:
    """Build, run once, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latent", type=int, default=8, help="Side of the latent; 64 is 512 px.")
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    unet: Any = build_full_object_clear().unet
    unet = unet.to(torch.bfloat16).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.normal_(0, 0.02) if parameter.ndim > 1 else parameter.fill_(0.5)
        given = {"text_embeds": torch.randn(1, 1280).bfloat16(), "time_ids": torch.zeros(1, 6).bfloat16()}
        sample = torch.randn(1, 9, asked.latent, asked.latent).bfloat16()
        began = time.perf_counter()
        found = unet(sample, 500, torch.randn(1, 77, 2048).bfloat16(), added_cond_kwargs=given).sample
        seconds = time.perf_counter() - began
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    weights_gb = sum(p.numel() * p.element_size() for p in unet.parameters()) / 1e9
    figures = {
        "ratio": peak_gb / weights_gb,
        "seconds": seconds,
        "peak_memory_gb": peak_gb,
        "weights_gb": weights_gb,
        "shape": list(found.shape),
        "finite": bool(found.isfinite().all()),
        "machine": machine(),
    }
    if asked.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
