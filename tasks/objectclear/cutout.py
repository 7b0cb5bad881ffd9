"""Cut out a range of a source's pairs: masks, layers, and one shard of cut-outs."""

from collections.abc import Iterator
from dataclasses import replace

from prefect import task
from pydantic import Field

from data_specs.captured_pair import CapturedPair
from data_specs.keys import derive_key
from data_specs.picture_pair import PicturePair
from data_specs.reject import RefusedSample, Reject
from tasks.execution import INLINE, WorkersConfig, do_shard
from tasks.execution.retries import RETRY_LOST_NETWORK
from tasks.execution.shard_task import BY_WORK
from tasks.objectclear.cut_out import cut_out
from tasks.objectclear.object_mask import CaptureConfig, capture_pair
from tasks.objectclear.perception import Perception, load_perception
from tasks.objectclear.seeing_work import SeeingWork
from tasks.objectclear.synthetic import as_captured_pair
from tasks.sources.pairs import PairSource, StudioPairs, numbers_of, read_pairs
from tasks.sources.synthetic.samples import make_shot
from tasks.storage.shards import encode_cutout
from tasks.storage.shards.result import Harvest, Kept, harvest
from tasks.storage.workspace import Workspace


class CutOutWork(SeeingWork):
    """One shard of cut-outs."""

    source: PairSource
    count: int | None = Field(default=None, ge=1)
    """Pairs of the source, from ``first``; None: all that follow."""
    capture: CaptureConfig

    @property
    def sees(self) -> bool:
        """See ``SeeingWork.sees``."""
        return not (isinstance(self.source, StudioPairs) and self.source.known)


def cut_out_pairs(workspace: Workspace, work: CutOutWork, perception: Perception | None = None) -> Harvest:
    """See, mask and cut out; a pair that fails is refused with its reason and its pictures.

    Args:
        workspace: Where to.
        work: Which pairs.
        perception: In place of the work's own, which is else loaded if a pair wants it.
    """

    def found() -> Iterator[Kept | RefusedSample | Reject]:
        for pair, captured in _captured(work, perception):
            made = captured if isinstance(captured, Reject) else cut_out(captured)
            if not isinstance(made, Reject):
                tally = {"shadow class": made.shadow_class, "object class": made.class_name}
                yield Kept(encode_cutout(made), tally)
            elif pair is None:
                yield made
            else:
                yield _refused(pair, made)

    return harvest(workspace, work, "cutouts", found())


def _captured(
    work: CutOutWork, perception: Perception | None
) -> Iterator[tuple[PicturePair | CapturedPair | None, CapturedPair | Reject]]:
    """Each pair, where it could be read, and what is known of it then."""
    source = work.source
    if isinstance(source, StudioPairs) and source.known:
        for number in numbers_of(source, work.first, work.count):
            shot = as_captured_pair(make_shot(source.studio, number), source.studio.split)
            # Another work may cut the same object, and its cut-out is another sample.
            own = replace(shot, key=derive_key("captured pair", shot.key, work.digest))
            yield own, own
        return
    seeing = perception or load_perception(work.perception)
    for pair in read_pairs(source, work.first, work.count):
        if isinstance(pair, Reject):
            yield None, pair
        else:
            yield pair, capture_pair(pair, seeing, work.capture, work.flatness)


def _refused(pair: PicturePair | CapturedPair, reject: Reject) -> RefusedSample:
    pictures = {"source": pair.source, "ground_truth": pair.ground_truth}
    return RefusedSample(scene=pair.scene, split=pair.split, reject=reject, pictures=pictures)


@task(
    task_run_name="cut out pairs {work.index}",
    persist_result=True,
    result_serializer="json",
    cache_policy=BY_WORK,
    **RETRY_LOST_NETWORK,
)
def cut_out_shard(workspace: Workspace, work: CutOutWork, workers: WorkersConfig = INLINE) -> Harvest:
    """One shard of cut-outs."""
    return do_shard(workers, workspace, "cut out", work.digest, cut_out_pairs, work)
