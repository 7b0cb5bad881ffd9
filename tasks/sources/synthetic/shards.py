"""Render synthetic samples into shards: triplets, or pool items with their truth kept apart."""

from collections.abc import Iterator
from functools import cache, partial
from typing import Literal

from pydantic import Field

from data_specs.shard import EncodedSample, ShardRef
from data_specs.work import ShardWork, beside
from tasks.execution.shard_task import shard_task
from tasks.sources.synthetic.samples import (
    SyntheticConfig,
    SyntheticSample,
    as_pool_item,
    as_triplet,
    make_sample,
)
from tasks.storage.shards import encode_pool_item, encode_triplet, write_shard
from tasks.storage.workspace import Workspace


class RenderWork(ShardWork):
    """The input of one shard of synthetic samples."""

    stage: Literal["triplets", "pool"]
    """``pool`` writes two shards: the items, and separately their truth, for the oracle only."""
    renderer: SyntheticConfig
    first: int = Field(ge=0)
    count: int = Field(ge=1)


def render(workspace: Workspace, work: RenderWork) -> ShardRef:
    """Render the samples and write their shard. For a pool, write the shard of truth first.

    Returns:
        The shard of triplets or of pool items.
    """
    split = work.renderer.split

    @cache
    def rendered_samples() -> list[SyntheticSample]:
        return [make_sample(work.renderer, number) for number in range(work.first, work.first + work.count)]

    def triplets() -> Iterator[EncodedSample]:
        for rendered in rendered_samples():
            yield encode_triplet(as_triplet(rendered, split), work.image_format)

    def items() -> Iterator[EncodedSample]:
        for rendered in rendered_samples():
            yield encode_pool_item(as_pool_item(rendered, split), work.image_format)

    write = partial(write_shard, workspace, round=work.round, index=work.index)
    if work.stage == "triplets":
        return write(stage="triplets", input_digest=work.digest, samples=triplets())
    truth_digest = beside(work.digest, "truth")
    write(stage="truth", input_digest=truth_digest, samples=triplets())
    return write(stage="pool", input_digest=work.digest, samples=items())


render_shard = shard_task(render, "render", "{work.stage} {work.index}")
