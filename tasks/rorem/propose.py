"""Propose candidates: the current remover edits pool images (papers.md, facts 2 and 3)."""

from collections.abc import Iterator
from itertools import islice

from data_specs.candidate import Candidate
from data_specs.keys import derive_key, image_hash
from data_specs.pool_item import PoolItem
from data_specs.shard import EncodedSample, Purpose, ShardRef
from data_specs.triplet import Triplet
from data_specs.work import ShardWork
from models.images.mask_variants import MaskVariant, widen
from models.protocols import RemovalModel
from tasks.execution.shard_task import shard_task
from tasks.registry.removers import RemoverRef, load_remover
from tasks.storage.shards import (
    ShardReader,
    decode_pool_item,
    decode_triplet,
    encode_candidate,
    source_members,
    write_shard,
)
from tasks.storage.workspace import Workspace

_FEW = 4
"""A work that needs less than this part of its pool shards does not fetch them whole from a bucket."""


class ProposeWork(ShardWork):
    """The input of one shard of candidates."""

    phase: str
    purpose: Purpose
    pool: tuple[ShardRef, ...]
    """Shards that hold the items: of the pool, or of training pairs."""
    items: tuple[str, ...]
    """Keys of the items to edit."""
    variants: tuple[MaskVariant, ...]
    remover: RemoverRef


def propose_candidates(
    items: list[PoolItem], remover: RemovalModel, variants: tuple[MaskVariant, ...]
) -> Iterator[Candidate]:
    """Edit every item once for each mask variant. Items keep their order; an item's variants are adjacent.

    A candidate holds the hashes of its model and its image. They decide its key and its noise.
    """
    keys = [
        [derive_key("candidate", item.key, remover.model_hash, variant) for variant in variants]
        for item in items
    ]
    removals = [
        remover.remove(
            [item.source for item in items],
            [widen(item.mask, variant) for item in items],
            [int(key[number][:12], 16) for key in keys],
        )
        for number, variant in enumerate(variants)
    ]
    for place, item in enumerate(items):
        for number, variant in enumerate(variants):
            yield Candidate(
                key=keys[place][number],
                item=item.key,
                scene=item.scene,
                split=item.split,
                class_name=item.class_name,
                variant=variant,
                model_hash=remover.model_hash,
                source_hash=image_hash(item.source),
                source=item.source,
                mask=item.mask,
                removal=removals[number][place],
            )


def propose(workspace: Workspace, work: ProposeWork) -> ShardRef:
    """Edit the items and write the shard of candidates. An item's source and mask are stored once."""

    def encoded() -> Iterator[EncodedSample]:
        remover, at_once = load_remover(workspace, work.remover), work.remover.sampling.batch_size
        few = _FEW * len(work.items) < sum(ref.samples for ref in work.pool)
        with ShardReader(workspace, work.pool, few=few) as reader:
            for start in range(0, len(work.items), at_once):
                samples = [reader.by_key(key) for key in work.items[start : start + at_once]]
                yield from _candidates_of(samples, remover, work)

    return write_shard(
        workspace,
        stage="candidates",
        round=work.round,
        index=work.index,
        input_digest=work.digest,
        samples=encoded(),
        purpose=work.purpose,
    )


def _candidates_of(
    samples: list[EncodedSample], remover: RemovalModel, work: ProposeWork
) -> Iterator[EncodedSample]:
    """The candidates of some items. They are as many as the remover edits at once, so memory is bounded."""
    candidates = propose_candidates([_item(sample) for sample in samples], remover, work.variants)
    for sample in samples:
        shared = source_members(sample, work.image_format)
        for candidate in islice(candidates, len(work.variants)):
            yield encode_candidate(candidate, work.image_format, shared)


def _item(sample: EncodedSample) -> PoolItem:
    """A pool item, or the source and the mask of a training pair."""
    if not any(member.startswith("ground_truth.") for member in sample.members):
        return decode_pool_item(sample)
    return as_unlabelled(decode_triplet(sample))


def as_unlabelled(pair: Triplet) -> PoolItem:
    """The source and the mask of a pair, without its ground truth."""
    return PoolItem(
        key=pair.key,
        scene=pair.scene,
        split=pair.split,
        origin=pair.origin,
        class_name="",
        source=pair.source,
        mask=pair.mask,
    )


propose_shard = shard_task(propose, "propose", "{work.phase} {work.index}")
