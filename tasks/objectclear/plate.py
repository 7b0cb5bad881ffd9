"""Find plates among a range of a source's backgrounds: ground, depth, and one shard of plates."""

from collections.abc import Iterator
from dataclasses import replace

from prefect import task
from pydantic import Field

from data_specs.background import Background
from data_specs.keys import derive_key
from data_specs.plate import Plate
from data_specs.reject import RefusedSample, Reject
from tasks.execution import INLINE, WorkersConfig, do_shard
from tasks.execution.retries import RETRY_LOST_NETWORK
from tasks.execution.shard_task import BY_WORK
from tasks.objectclear.find_plate import find_plate
from tasks.objectclear.perception import Perception, load_perception
from tasks.objectclear.plate_part import PlateConfig
from tasks.objectclear.seeing_work import SeeingWork
from tasks.objectclear.synthetic import studio_plate
from tasks.sources.backgrounds import (
    BackgroundSource,
    StudioBackgrounds,
    numbers_of,
    read_backgrounds,
    studio_background,
)
from tasks.storage.shards import encode_plate
from tasks.storage.shards.result import Harvest, Kept, harvest
from tasks.storage.workspace import Workspace


class PlateWork(SeeingWork):
    """One shard of plates."""

    source: BackgroundSource
    count: int = Field(ge=1)
    limits: PlateConfig

    @property
    def sees(self) -> bool:
        """See ``SeeingWork.sees``."""
        return not (isinstance(self.source, StudioBackgrounds) and self.source.known)


def find_plates(workspace: Workspace, work: PlateWork, perception: Perception | None = None) -> Harvest:
    """Tell the ground of each background; what cannot be a plate is refused with its reason and picture.

    Args:
        workspace: Where to.
        work: Which backgrounds.
        perception: In place of the work's own, which is else loaded if a background wants it.
    """

    def found() -> Iterator[Kept | RefusedSample | Reject]:
        for background, made in _plates(work, perception):
            if not isinstance(made, Reject):
                # Other settings may find the same plate again, and it is another work's sample then.
                own = replace(made, key=derive_key("plate of", work.digest, made.key))
                yield Kept(encode_plate(own, work.picture_format))
            elif background is None:
                yield made
            else:
                yield _refused(background, made)

    return harvest(workspace, work, "plates", found())


def _plates(
    work: PlateWork, perception: Perception | None
) -> Iterator[tuple[Background | None, Plate | Reject]]:
    """Each background, where it could be read, and what became of it."""
    source = work.source
    if isinstance(source, StudioBackgrounds) and source.known:
        for number in numbers_of(source, work.first, work.count):
            yield studio_background(source.studio, number), studio_plate(source.studio, number, work.limits)
        return
    seeing = perception or load_perception(work.perception)
    for background in read_backgrounds(source, work.first, work.count):
        if isinstance(background, Reject):
            yield None, background
        else:
            yield background, _plate(background, work, seeing)


def _refused(background: Background, reject: Reject) -> RefusedSample:
    pictures = {"picture": background.picture}
    return RefusedSample(scene=background.scene, split=background.split, reject=reject, pictures=pictures)


def _plate(background: Background, work: PlateWork, perception: Perception) -> Plate | Reject:
    return find_plate(
        perception.ground_segmenter,
        perception.depth_estimator,
        work.flatness,
        work.limits,
        scene=background.scene,
        split=background.split,
        origin=background.origin,
        picture=background.picture,
        focal_px=background.focal_px,
    )


@task(
    task_run_name="find plates {work.index}",
    persist_result=True,
    result_serializer="json",
    cache_policy=BY_WORK,
    **RETRY_LOST_NETWORK,
)
def plate_shard(workspace: Workspace, work: PlateWork, workers: WorkersConfig = INLINE) -> Harvest:
    """One shard of plates."""
    return do_shard(workers, workspace, "find plates", work.digest, find_plates, work)
