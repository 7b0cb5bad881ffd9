"""Grow the dataset: accepted candidates become triplets (papers.md, facts 2 and 3)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from data_specs.candidate import Candidate
from data_specs.keys import derive_key
from data_specs.shard import EncodedSample, Purpose, ShardRef
from data_specs.triplet import Triplet
from data_specs.work import ShardWork
from tasks.execution.shard_task import shard_task
from tasks.rorem.questions import best_of_items
from tasks.storage.shards import ShardReader, candidate_items, decode_candidate, encode_triplet, write_shard
from tasks.storage.workspace import Workspace


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


def grown_key(candidate: str) -> str:
    """The key of the triplet that a candidate becomes."""
    return derive_key("grown", candidate)


def grown_triplet(candidate: Candidate) -> Triplet:
    """The candidate as a training sample. It gets the TIGHT mask, whatever mask the remover got."""
    return Triplet(
        key=grown_key(candidate.key),
        scene=candidate.scene,
        split=candidate.split,
        origin=f"candidate:{candidate.key}",
        source=candidate.source,
        mask=candidate.mask,
        ground_truth=candidate.removal,
    )


def grow(workspace: Workspace, work: GrowWork) -> ShardRef:
    """Write the accepted candidates as triplets."""

    def encoded() -> Iterator[EncodedSample]:
        with ShardReader(workspace, work.candidates) as reader:
            for key in work.accepted:
                triplet = grown_triplet(decode_candidate(reader.by_key(key)))
                yield encode_triplet(triplet, work.image_format)

    return write_shard(
        workspace,
        stage="grown",
        round=work.round,
        index=work.index,
        input_digest=work.digest,
        samples=encoded(),
        purpose=work.purpose,
    )


grow_shard = shard_task(grow, "grow", "{work.phase} {work.index}")
