"""Measure an automated phase without its models: processor time and bytes a candidate, split by cause.

Limits: 25 ms and 200 kB a candidate at 512 px. ``ratio`` is the worse of the two, divided by its limit.

Run: python -m benchmarks.phase_cost [--full] [--json]
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
from rich.console import Console
from rich.table import Table

from benchmarks._images import image_like
from benchmarks._machine import machine
from benchmarks._null_models import NullDiscriminator, NullRemover
from benchmarks._processes import ends_in_time
from data_specs.pool_item import PoolItem
from data_specs.shard import ImageFormat, ShardRef
from models.images.mask_variants import MaskVariant
from models.rorem.remover import SamplingConfig
from tasks.registry.removers import RemoverRef
from tasks.rorem import propose as proposing
from tasks.rorem import score as scoring
from tasks.rorem.grow import GrowWork, accepted_by_score, candidates_by_item, grow
from tasks.rorem.propose import ProposeWork, propose
from tasks.rorem.score import ScoreWork, score
from tasks.rorem.train_discriminator import DiscriminatorRef
from tasks.storage.shards import encode_pool_item, write_shard
from tasks.storage.shards.writer import index_path
from tasks.storage.workspace import Workspace

CPU_LIMIT_MS, BYTES_LIMIT = 25.0, 200_000
SIZE_PX = 512
POOL_SHARD, SHARD_ITEMS = 500, 150
VARIANTS: tuple[MaskVariant, ...] = ("tight", "dilated", "left", "right")
REMOVER = RemoverRef(hash=NullRemover.model_hash, folder="none", sampling=SamplingConfig())
DISCRIMINATOR = DiscriminatorRef(hash="null", folder="none", backbone=REMOVER)

Seconds = defaultdict[str, float]
"""Processor time by cause."""
Pool = list[tuple[ShardRef, list[str]]]
"""Shards of pool items, and the keys in them."""


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=480, help="candidates of 512 px, 4 of each item")
    parser.add_argument("--full", action="store_true", help="2,000 candidates")
    parser.add_argument("--image-format", choices=("jpeg", "png"), default="jpeg")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    candidates = 2000 if arguments.full else arguments.candidates
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".phase_cost-") as folder:
        figures = measured(Workspace.open(folder), candidates // len(VARIANTS), arguments.image_format)
    if arguments.as_json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)


def measured(workspace: Workspace, items: int, image_format: ImageFormat) -> dict[str, Any]:
    """Run a phase over a new pool.

    Args:
        workspace: An empty workspace.
        items: Number of pool items. Each gets four candidates.
        image_format: Format of the pool and of the candidates.

    Returns:
        The figures, ``ratio`` among them.
    """
    pool = make_pool(workspace, items, image_format)
    seconds: Seconds = defaultdict(float)
    refs = propose_all(workspace, pool, image_format, seconds)
    accepted = score_and_accept(workspace, refs, seconds)
    with counted(seconds, "grow"):
        work = GrowWork(
            round=1,
            index=0,
            phase="automation 1",
            purpose="automation",
            candidates=tuple(refs),
            accepted=tuple(accepted),
        )
        grown = grow(workspace, work)
    number = sum(ref.samples for ref in refs)
    stored = sum(ref.size_bytes + index_path(workspace, ref.name).stat().st_size for ref in refs)
    causes = {cause: 1000 * spent / number for cause, spent in seconds.items()}
    cpu_ms, size_bytes = sum(causes.values()), stored / number
    return {
        "ratio": max(cpu_ms / CPU_LIMIT_MS, size_bytes / BYTES_LIMIT),
        "candidates": number,
        "image_format": image_format,
        "cpu_ms": cpu_ms,
        "cpu_limit_ms": CPU_LIMIT_MS,
        "cpu_ms_by_cause": causes,
        "bytes": size_bytes,
        "bytes_limit": BYTES_LIMIT,
        "accepted": len(accepted),
        "grown_bytes": grown.size_bytes / grown.samples,
        "machine": machine(),
    }


def make_pool(
    workspace: Workspace, items: int, image_format: ImageFormat
) -> list[tuple[ShardRef, list[str]]]:
    """Shards of pool items, and the keys in each. Few images differ: what they cost is the same."""
    images = image_like(min(items, 48), SIZE_PX)
    pool: Pool = []
    for index, start in enumerate(range(0, items, POOL_SHARD)):
        numbers = range(start, min(items, start + POOL_SHARD))
        samples = (
            encode_pool_item(_pool_item(images[number % len(images)], number), image_format)
            for number in numbers
        )
        ref = write_shard(
            workspace, stage="pool", round=0, index=index, input_digest=f"pool {index}", samples=samples
        )
        pool.append((ref, [f"item-{number:06d}" for number in numbers]))
    return pool


def _pool_item(image: Any, number: int) -> PoolItem:
    return PoolItem(
        key=f"item-{number:06d}",
        scene=f"scene-{number}",
        split="train",
        origin=f"benchmark:{number}",
        class_name="disc",
        source=image.source,
        mask=image.mask,
    )


def propose_all(
    workspace: Workspace,
    pool: Pool,
    image_format: ImageFormat,
    seconds: Seconds,
) -> list[ShardRef]:
    """The candidates of all items, a shard for every 150 items."""
    remover, refs = NullRemover(), []
    parts = [
        (ref, keys[start : start + SHARD_ITEMS])
        for ref, keys in pool
        for start in range(0, len(keys), SHARD_ITEMS)
    ]
    inside = {
        "_item": "decode pool item",
        "widen": "widen",
        "source_members": "encode",
        "encode_candidate": "encode",
    }
    with patch.object(proposing, "load_remover", lambda *_: remover), timed(proposing, inside) as spent:
        began = time.process_time()
        for index, (ref, keys) in enumerate(parts):
            work = ProposeWork(
                round=1,
                index=index,
                phase="automation 1",
                purpose="automation",
                pool=(ref,),
                items=tuple(keys),
                variants=VARIANTS,
                remover=REMOVER,
                image_format=image_format,
            )
            refs.append(propose(workspace, work))
        total = time.process_time() - began
    seconds.update(spent)
    seconds["write and the rest of propose"] = total - remover.seconds - sum(spent.values())
    return refs


def score_and_accept(workspace: Workspace, refs: Sequence[ShardRef], seconds: Seconds) -> list[str]:
    """Score every candidate, and accept the best of about half of the items."""
    discriminator = NullDiscriminator()
    with (
        patch.object(scoring, "open_discriminator", lambda *_: discriminator),
        counted(seconds, "score's decode and record"),
    ):
        for ref in refs:
            score(workspace, ScoreWork(ref=ref, discriminator=DISCRIMINATOR))
    seconds["score's decode and record"] -= discriminator.seconds
    with counted(seconds, "choose by score"):
        scores = workspace.ledger().scores.of(DISCRIMINATOR.hash)
        items = candidates_by_item(workspace, refs)
        half = {item: keys for number, (item, keys) in enumerate(items.items()) if number % 2 == 0}
        return accepted_by_score(half, scores, -1.0)


@contextmanager
def counted(seconds: Seconds, cause: str) -> Iterator[None]:
    """Add the block's processor time, of all threads."""
    began = time.process_time()
    yield
    seconds[cause] += time.process_time() - began


@contextmanager
def timed(module: Any, causes: dict[str, str]) -> Iterator[Seconds]:
    """Time the calls of some functions of a module, by cause."""
    seconds: Seconds = defaultdict(float)

    def watched(function: Callable[..., Any], cause: str) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                seconds[cause] += time.thread_time() - began

        return call

    with ExitStack() as stack:
        for name, cause in causes.items():
            stack.enter_context(patch.object(module, name, watched(getattr(module, name), cause)))
        yield seconds


def show(figures: dict[str, Any]) -> None:
    """Print a table."""
    table = Table("cause", "CPU ms a candidate", title=f"a phase of {figures['candidates']} candidates")
    for cause, spent in figures["cpu_ms_by_cause"].items():
        table.add_row(cause, f"{spent:.2f}")
    console = Console()
    console.print(table)
    console.print(f"all: {figures['cpu_ms']:.1f} ms, limit {CPU_LIMIT_MS:g}")
    console.print(f"a candidate on disk: {figures['bytes'] / 1000:.0f} kB, limit {BYTES_LIMIT / 1000:g}")
    console.print(f"a grown sample on disk: {figures['grown_bytes'] / 1000:.0f} kB")
    console.print(f"ratio: {figures['ratio']:.2f} ({figures['machine']})")


if __name__ == "__main__":
    main()
