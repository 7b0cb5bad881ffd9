"""Evaluate a remover on triplets with known ground truth."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from prefect import task
from pydantic import BaseModel, ConfigDict

from data_specs.assessment import Assessment, QualityConfig
from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from models.metrics.psnr import psnr
from models.protocols import RemovalModel
from tasks.evaluation.success import assess, mean_psnr, wilson_interval
from tasks.execution.executor import timed
from tasks.registry.removers import RemoverRef, load_remover
from tasks.storage.shards import ShardReader, decode_triplet, origin_in
from tasks.storage.workspace import Workspace

_AT_ONCE = 64
"""Triplets in memory together. Removers' batches are cut at the same places."""


class Evaluation(BaseModel):
    """The figures of a remover on one set of triplets."""

    model_config = ConfigDict(frozen=True)

    tested: int
    successes: int
    success_low: float
    success_high: float
    psnr_effect: float
    psnr_background: float
    faults: dict[str, int]
    """Number of failures by reason."""
    passed: list[bool]
    """Whether each triplet passed, in order, for paired comparison."""
    psnr: float | None = None
    """Mean PSNR of whole images in dB. None in evaluations recorded before it was measured."""

    @property
    def success_rate(self) -> float:
        """The success rate, 0..1."""
        return self.successes / self.tested


def read_triplets(
    workspace: Workspace, refs: Sequence[ShardRef], split: Split, origin: str = ""
) -> list[Triplet]:
    """All of `stream_triplets` in a list, for sets that are small."""
    return list(stream_triplets(workspace, refs, split, origin))


def stream_triplets(
    workspace: Workspace, refs: Sequence[ShardRef], split: Split, origin: str = ""
) -> Iterator[Triplet]:
    """The triplets of one split whose origin starts with ``origin``, in the shards' order, one in memory.

    Shards without a sample of the split are not opened, and no image of another origin is read.

    Raises:
        FlowError: If there are no triplets.
    """
    held = workspace.ledger().shards.samples_in([ref.name for ref in refs], split)
    empty = True
    for ref in refs:
        if held[ref.name]:
            with ShardReader(workspace, [ref]) as reader:
                for position in reader.positions_in(split):
                    if origin_in(reader.member_at(position, "json")).startswith(origin):
                        empty = False
                        yield decode_triplet(reader[position])
    if empty:
        raise FlowError(f"no {split} triplet has an origin that starts with {origin!r}; ingest some first")


def removals_of(remover: RemovalModel, triplets: Sequence[Triplet]) -> list[np.ndarray]:
    """The removal of each triplet's source. A triplet always gets the same noise."""
    return remover.remove(
        [t.source for t in triplets], [t.mask for t in triplets], [int(t.key[:12], 16) for t in triplets]
    )


def evaluate(remover: RemovalModel, triplets: Iterable[Triplet], quality: QualityConfig) -> Evaluation:
    """Measure the success rate with its 95 % Wilson interval, and PSNR on the effect and off it.

    A few triplets are in memory at once.
    """
    samples: list[Assessment] = []
    whole: list[float] = []
    waiting = iter(triplets)
    while part := list(islice(waiting, _AT_ONCE)):
        for removal, triplet in zip(removals_of(remover, part), part, strict=True):
            samples.append(assess(removal, triplet.source, triplet.mask, triplet.ground_truth, quality))
            whole.append(_whole_psnr(removal, triplet))
    passed = [a.success for a in samples]
    low, high = wilson_interval(sum(passed), len(passed))
    effect, background = mean_psnr(samples)
    return Evaluation(
        tested=len(passed),
        successes=sum(passed),
        success_low=low,
        success_high=high,
        psnr_effect=effect,
        psnr_background=background,
        faults=dict(sorted(Counter(a.reason for a in samples if a.reason).items())),
        passed=passed,
        psnr=float(np.mean(whole)),
    )


def _whole_psnr(removal: np.ndarray, triplet: Triplet) -> float:
    return psnr(removal, triplet.ground_truth, np.ones_like(triplet.mask))


def mask_psnr(remover: RemovalModel, triplets: Sequence[Triplet]) -> tuple[float, float]:
    """Mean PSNR in dB inside and outside the mask, for pairs whose effects nobody measured."""
    removals = removals_of(remover, triplets)
    pairs = list(zip(removals, triplets, strict=True))
    inside = [psnr(removal, t.ground_truth, t.mask) for removal, t in pairs]
    outside = [psnr(removal, t.ground_truth, ~t.mask) for removal, t in pairs]
    return float(np.mean(inside)), float(np.mean(outside))


@task(task_run_name="evaluate {name} on {split}")
def evaluate_remover(
    workspace: Workspace,
    name: str,
    remover: RemoverRef,
    triplets: tuple[ShardRef, ...],
    split: Split,
    quality: QualityConfig,
    origin: str,
) -> Evaluation:
    """Evaluate a remover once on one split's triplets of one origin. The ledger keeps the result."""
    digests = " ".join(ref.sha256 for ref in triplets)
    key = derive_key(split, origin, quality.model_dump_json(), digests)
    ledger = workspace.ledger()
    recorded = ledger.results.get("evaluation", key, Evaluation, run=remover.hash)
    if recorded is not None:
        return recorded
    shown = stream_triplets(workspace, triplets, split, origin)
    result, seconds = timed(evaluate, (load_remover(workspace, remover), shown, quality))
    # Recorded before the result: once the result is recorded, this code is not reached again.
    ledger.costs.record(derive_key("evaluation", remover.hash, key), "evaluate", seconds)
    ledger.results.record("evaluation", key, result, run=remover.hash)
    return result
