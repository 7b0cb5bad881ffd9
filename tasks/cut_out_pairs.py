"""Cut out a range of a source's pairs: masks, layers, and one shard of cut-outs."""

from collections.abc import Iterator

from prefect import task
from pydantic import Field

from data_specs.picture_pair import PicturePair
from data_specs.reject import RefusedSample, Reject
from tasks.compose.captured_masks import CaptureConfig, capture_pair
from tasks.compose.cut_out import cut_out
from tasks.compose.flat_ground import FlatGroundConfig
from tasks.compose.perception import Perception, PerceptionConfig, load_perception
from tasks.harvest import Harvest, Kept, harvest
from tasks.shards import encode_cutout
from tasks.sources.pairs import PairSource, read_pairs
from tasks.work import BY_WORK, ShardWork
from tasks.workspace import Workspace


class CutOutWork(ShardWork):
    """One shard of cut-outs."""

    source: PairSource
    files_digest: str = ""
    """Of the source's files: other pictures under the same names are other work."""
    first: int = Field(default=0, ge=0)
    count: int | None = Field(default=None, ge=1)
    """Pairs of the source, from ``first``; None: all that follow."""
    capture: CaptureConfig
    flatness: FlatGroundConfig
    perception: PerceptionConfig


def cut_out_pairs(workspace: Workspace, work: CutOutWork, perception: Perception) -> Harvest:
    """See, mask and cut out; a pair that fails is refused with its reason and its pictures."""
    return harvest(workspace, work, "cutouts", _found(work, perception))


def _found(work: CutOutWork, perception: Perception) -> Iterator[Kept | RefusedSample | Reject]:
    for pair in read_pairs(work.source, work.first, work.count):
        if isinstance(pair, Reject):
            yield pair
            continue
        captured = capture_pair(pair, perception, work.capture, work.flatness)
        made = captured if isinstance(captured, Reject) else cut_out(captured)
        if isinstance(made, Reject):
            yield _refused(pair, made)
        else:
            tally = {"shadow class": made.shadow_class, "object class": made.class_name}
            yield Kept(encode_cutout(made), tally)


def _refused(pair: PicturePair, reject: Reject) -> RefusedSample:
    pictures = {"source": pair.source, "ground_truth": pair.ground_truth}
    return RefusedSample(scene=pair.scene, split=pair.split, reject=reject, pictures=pictures)


@task(
    task_run_name="cut out pairs {work.index}",
    persist_result=True,
    result_serializer="json",
    cache_policy=BY_WORK,
)
def cut_out_shard(workspace: Workspace, work: CutOutWork) -> Harvest:
    """One shard of cut-outs."""
    return cut_out_pairs(workspace, work, load_perception(work.perception))
