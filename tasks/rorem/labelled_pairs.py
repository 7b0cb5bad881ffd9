"""Label candidates by known truth: removals on training pairs teach a discriminator as answers do."""

from pydantic import BaseModel, ConfigDict

from data_specs.assessment import QualityConfig
from data_specs.keys import derive_key
from data_specs.shard import ShardRef, Stage
from tasks.evaluation.success import assess
from tasks.storage.dataset.versions import load_samples
from tasks.storage.shards import ShardReader, decode_candidate, decode_triplet
from tasks.storage.workspace import Workspace

_WITH_TRUTH: tuple[Stage, ...] = ("triplets", "composites")
"""Stages whose ground truth was captured or made. A grown pair's is a removal."""


class LabelledPairs(BaseModel):
    """Candidates of training pairs, and where their truth lies."""

    model_config = ConfigDict(frozen=True)

    candidates: tuple[ShardRef, ...]
    truths: tuple[ShardRef, ...]
    """The shards of the pairs."""
    quality: QualityConfig
    """What a success is."""


def choose_pairs(
    workspace: Workspace, version: int, count: int, seed: int
) -> tuple[list[str], tuple[ShardRef, ...]]:
    """At most ``count`` training pairs of a dataset version whose truth is known, and their shards.

    The same arguments give the same pairs. Pairs of the validation and test splits are never among them.
    """
    samples = [sample for sample in load_samples(workspace, version) if sample.split == "train"]
    shards = workspace.ledger().shards.all_named(sample.shard for sample in samples)
    with_truth = [sample for sample in samples if shards[sample.shard].stage in _WITH_TRUTH]
    chosen = sorted(with_truth, key=lambda sample: derive_key("labelled pair", seed, sample.key))[:count]
    names = sorted({sample.shard for sample in chosen})
    return [sample.key for sample in chosen], tuple(shards[name] for name in names)


def labels_of(workspace: Workspace, pairs: LabelledPairs) -> dict[str, bool]:
    """Whether each candidate is a success, by its key, measured against the pair's ground truth."""
    labels: dict[str, bool] = {}
    with ShardReader(workspace, pairs.truths) as truths, ShardReader(workspace, pairs.candidates) as reader:
        for key in reader.keys:
            candidate = decode_candidate(reader.by_key(key))
            truth = decode_triplet(truths.by_key(candidate.item)).ground_truth
            removal, source, mask = candidate.removal, candidate.source, candidate.mask
            labels[key] = assess(removal, source, mask, truth, pairs.quality).success
    return labels
