"""Grow the dataset: accepted candidates become triplets (papers.md, facts 2 and 3)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from data_specs.keys import derive_key
from data_specs.shard import EncodedSample, Purpose, ShardRef
from data_specs.work import ShardWork
from tasks.execution.shard_task import shard_task
from tasks.rorem.questions import best_of_items
from tasks.storage.shards import ShardReader, as_grown, candidate_items, write_shard
from tasks.storage.workspace import Workspace

GROWN_SAMPLES = 500
"""The most samples of a grown shard: 0.1 GB of JPEG at 512 px. A kill loses at most one shard's work."""


class GrowWork(ShardWork):
    """The input of one shard of grown triplets."""

    phase: str
    purpose: Purpose
    candidates: tuple[ShardRef, ...]
    accepted: tuple[str, ...]
    """Keys of the accepted candidates. (Prefect takes a model with a field ``keys`` for a mapping.)"""


def accepted_by_review(items: Mapping[str, Sequence[str]], yes: set[str]) -> list[str]:
    """One YES candidate of each item that has any: the first by key, which is as good as a random choice.

    Args:
        items: Candidate keys of each item.
        yes: Candidates whose answer was YES.
    """
    accepted = (min((key for key in keys if key in yes), default=None) for keys in items.values())
    return [key for key in accepted if key is not None]


def accepted_by_score(
    items: Mapping[str, Sequence[str]], scores: Mapping[str, float], above: float
) -> list[str]:
    """The candidate with the best score of each item, if its score is above the threshold."""
    return [key for key in best_of_items(items, scores) if scores[key] > above]


def first_candidates(items: Mapping[str, Sequence[str]]) -> list[str]:
    """One candidate of each item, whatever its quality: growth without any decision."""
    return [min(keys) for keys in items.values()]


def candidates_by_item(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, list[str]]:
    """The candidate keys of each item. Items and candidates keep the shards' order."""
    items: dict[str, list[str]] = defaultdict(list)
    for candidate, item in candidate_items(workspace, refs).items():
        items[item].append(candidate)
    return dict(items)


def growth_parts(
    workspace: Workspace, refs: Sequence[ShardRef], accepted: Sequence[str]
) -> list[tuple[tuple[ShardRef, ...], tuple[str, ...]]]:
    """Accepted candidates, cut into the parts of which a shard each is made.

    Args:
        workspace: The workspace of the candidates.
        refs: Shards of candidates.
        accepted: Keys of candidates. Their order decides the parts.

    Returns:
        For each part, the shards that it needs, and its keys.
    """
    rows = workspace.ledger().shards.samples_in([ref.name for ref in refs])
    holder = {row.key: name for name, held in rows.items() for row in held}
    parts = [
        tuple(accepted[start : start + GROWN_SAMPLES]) for start in range(0, len(accepted), GROWN_SAMPLES)
    ]
    needed = [{holder[key] for key in part} for part in parts]
    return [
        (tuple(ref for ref in refs if ref.name in names), part)
        for names, part in zip(needed, parts, strict=True)
    ]


def grown_key(candidate: str) -> str:
    """The key of the triplet that a candidate becomes."""
    return derive_key("grown", candidate)


def grow(workspace: Workspace, work: GrowWork) -> ShardRef:
    """Write the accepted candidates as triplets. Their images are copied, in the candidates' format.

    A triplet gets the TIGHT mask, whatever mask the remover got.
    """

    def copied() -> Iterator[EncodedSample]:
        with ShardReader(workspace, work.candidates) as reader:
            for key in work.accepted:
                yield as_grown(reader.by_key(key), grown_key(key), f"candidate:{key}")

    return write_shard(
        workspace,
        stage="grown",
        round=work.round,
        index=work.index,
        input_digest=work.digest,
        samples=copied(),
        purpose=work.purpose,
    )


grow_shard = shard_task(grow, "grow", "{work.phase} {work.index}")
