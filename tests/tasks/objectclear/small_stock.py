"""Cut-outs and plates of the studio in shards, for what composes them."""

from data_specs.cutout import Cutout
from data_specs.keys import Split
from data_specs.plate import Plate
from data_specs.shard import ShardRef
from tasks.objectclear.composite import ComposeConfig, ComposeWork
from tasks.storage.shards import encode_cutout, encode_plate, write_shard
from tasks.storage.workspace import Workspace


def stocked(workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]) -> tuple[ShardRef, ShardRef]:
    """The shards of cut-outs and of plates."""
    objects = write_shard(
        workspace,
        stage="cutouts",
        round=0,
        index=0,
        input_digest="cut-outs",
        samples=[encode_cutout(each) for each in cutouts],
    )
    grounds = write_shard(
        workspace,
        stage="plates",
        round=0,
        index=0,
        input_digest="plates",
        samples=[encode_plate(each, "png") for each in plates],
    )
    return objects, grounds


def compose_work(
    refs: tuple[ShardRef, ShardRef], first: int = 0, count: int = 30, split: Split = "train", index: int = 0
) -> ComposeWork:
    return ComposeWork(
        round=0,
        index=index,
        split=split,
        cutouts=(refs[0],),
        plates=(refs[1],),
        first=first,
        count=count,
        two_object_probability=0.5,
        compose=ComposeConfig(seed=4),
    )
