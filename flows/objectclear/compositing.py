"""ObjectClear's compositing: pairs become cut-outs, backgrounds plates, both composites (facts 11 to 15)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.composite import CompositingResult, CompositingStage, StageResult
from data_specs.errors import FlowError
from data_specs.keys import Split
from data_specs.shard import ShardRef
from flows.report.compositing_artifacts import publish_compositing
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import map_shards, say
from models.perception.registry import detector_words
from tasks.execution import INLINE, WorkersConfig
from tasks.objectclear.add_to_dataset import add_composites
from tasks.objectclear.composite import ComposeConfig, ComposeWork, compose_shard
from tasks.objectclear.cutout import CutOutWork, cut_out_shard
from tasks.objectclear.ground import FlatGroundConfig
from tasks.objectclear.object_mask import CaptureConfig
from tasks.objectclear.perception import PerceptionConfig
from tasks.objectclear.plate import PlateConfig, PlateWork, plate_shard
from tasks.objectclear.pool import PoolCompositesWork, pool_composites_shard
from tasks.sources.backgrounds import BackgroundSource, SyntheticBackgrounds, count_backgrounds
from tasks.sources.count_files import FilesConfig, find_all
from tasks.sources.pairs import PairSource, SyntheticPairs, count_pairs
from tasks.sources.source_files import images_digest
from tasks.storage.shards import ImageFormat
from tasks.storage.shards.result import ShardResult
from tasks.storage.workspace import Workspace

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class CompositingConfig(BaseModel):
    """What composites are made of, how many are tried, and what is asked of each part."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger and the shards."
    )
    pairs: tuple[PairSource, ...] = Field(
        default=(SyntheticPairs(),),
        min_length=1,
        description="The source of image pairs with and without an object.",
    )
    backgrounds: tuple[BackgroundSource, ...] = Field(
        default=(SyntheticBackgrounds(),), min_length=1, description="The source of backgrounds."
    )
    attempts: int = Field(
        default=300,
        ge=1,
        le=100_000_000,
        description="Number of composites to attempt (ObjectClear made 10,000). The attempts are divided "
        "among the splits.",
    )
    two_object_probability: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Fraction of the attempts with two objects. ObjectClear has one or two.",
    )
    shard_pairs: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Number of pairs in a shard. Aim at 10 to 30 s of work for each shard.",
    )
    shard_backgrounds: int = Field(
        default=100, ge=1, le=100_000, description="Number of backgrounds in a shard."
    )
    shard_attempts: int = Field(default=500, ge=1, le=100_000, description="Number of attempts in a shard.")
    image_format: ImageFormat = Field(
        default="jpeg",
        description="Format of plates and composites: png or jpeg. Cut-outs are always lossless.",
    )
    add_to_pool: bool = Field(
        default=False,
        description="Whether composites become pool items that rounds draw. Their ground truth is stored "
        "apart.",
    )
    add_to_dataset: bool = Field(
        default=False,
        description="Whether composites join the dataset version, with their exact M_fg. Trainings on the "
        "new version use them.",
    )
    perception: PerceptionConfig = Field(
        default=PerceptionConfig(), description="The models that find objects, ground and depth."
    )
    object_masks: CaptureConfig = Field(
        default=CaptureConfig(), description="Requirements on a pair and on its masks."
    )
    ground: FlatGroundConfig = Field(
        default=FlatGroundConfig(), description="The definition of flat ground, in pairs and backgrounds."
    )
    plates: PlateConfig = Field(default=PlateConfig(), description="Requirements on a background.")
    compositing: ComposeConfig = Field(default=ComposeConfig(), description="How composites are made.")
    workers: WorkersConfig = Field(
        default=INLINE,
        description="Where shards are done: inline (this process), processes of this machine, or actors "
        "of a Ray cluster.",
    )


@flow(name="objectclear-compositing", flow_run_name="compositing, {config.attempts} attempts")
@fail_cleanly
def objectclear_compositing(config: CompositingConfig) -> CompositingResult:
    """Cut out, find plates, compose; a task run a shard. Run again after a kill it goes on where it stood.

    Raises:
        InputError: When a source as a whole cannot be read.
        FlowError: When not one composite could be made; the reasons are in the ledger and in Prefect by then.
    """
    workspace = Workspace.open(config.workspace)
    workers = config.workers
    cuts, grounds = list(cut_out_works(config)), list(plate_works(config))
    ignored = {"cut-outs": _ignored(config.pairs), "plates": _ignored(config.backgrounds)}
    if any(work.sees for work in cuts):
        say(detector_words(config.perception.detector))
    cut = map_shards(cut_out_shard, workspace, cuts, workers, "cut-outs")
    plates = map_shards(plate_shard, workspace, grounds, workers, "plates")
    works = list(compose_works(config, workspace, _shards(cut), _shards(plates)))
    composed = map_shards(compose_shard, workspace, works, workers, "composites")
    pooled = _pool(config, workspace, _shards(composed)) if config.add_to_pool else []
    gathered: dict[CompositingStage, list[ShardResult]] = {
        "cut-outs": cut,
        "plates": plates,
        "composites": composed,
    }
    result = CompositingResult(
        stages=[
            _stage_result(workspace, stage, results, ignored.get(stage, {}))
            for stage, results in gathered.items()
        ],
        shards=sum(len(_shards(results)) for results in gathered.values()),
        pool_items=sum(ref.samples for ref in pooled),
    )
    publish_compositing(workspace, result, gathered)
    _check_sum(result.stages[0], cuts)
    _check_sum(result.stages[1], grounds)
    if not result.composites:
        raise FlowError(_why_none(result))
    return _added(workspace, result, _shards(composed)) if config.add_to_dataset else result


def cut_out_works(config: CompositingConfig) -> Iterator[CutOutWork]:
    """The pairs in parts; a clip, which only reading tells the length of, is one part."""
    index = 0
    for source in config.pairs:
        count, digest = count_pairs(source), images_digest(source)
        for first in range(0, 1 if count is None else count, config.shard_pairs):
            yield CutOutWork(
                round=0,
                index=index,
                image_format=config.image_format,
                source=source,
                files_digest=digest,
                first=first,
                count=None if count is None else min(config.shard_pairs, count - first),
                capture=config.object_masks,
                flatness=config.ground,
                perception=config.perception,
            )
            index += 1


def plate_works(config: CompositingConfig) -> Iterator[PlateWork]:
    """The backgrounds in parts."""
    index = 0
    for source in config.backgrounds:
        count, digest = count_backgrounds(source), images_digest(source)
        for first in range(0, count, config.shard_backgrounds):
            yield PlateWork(
                round=0,
                index=index,
                image_format=config.image_format,
                source=source,
                files_digest=digest,
                first=first,
                count=min(config.shard_backgrounds, count - first),
                flatness=config.ground,
                limits=config.plates,
                perception=config.perception,
            )
            index += 1


def compose_works(
    config: CompositingConfig, workspace: Workspace, cutouts: Sequence[ShardRef], plates: Sequence[ShardRef]
) -> Iterator[ComposeWork]:
    """The attempts in parts. A split that has a plate gets the same fraction of them as of the cut-outs."""
    objects, grounds = by_split(workspace, cutouts), by_split(workspace, plates)
    usable: dict[Split, int] = {
        split: objects[split] for split in _SPLITS if objects[split] and grounds[split]
    }
    index = 0
    for split, number in usable.items():
        attempts = max(1, round(config.attempts * number / sum(usable.values())))
        for first in range(0, attempts, config.shard_attempts):
            yield ComposeWork(
                round=0,
                index=index,
                image_format=config.image_format,
                split=split,
                cutouts=tuple(cutouts),
                plates=tuple(plates),
                first=first,
                count=min(config.shard_attempts, attempts - first),
                two_object_probability=config.two_object_probability,
                compose=config.compositing,
            )
            index += 1


def by_split(workspace: Workspace, refs: Sequence[ShardRef]) -> Counter[str]:
    """Samples of some shards by split."""
    ledger = workspace.ledger()
    held = ledger.shards.samples_in([ref.name for ref in refs])
    return Counter(row.split for ref in refs for row in held[ref.name])


def _pool(config: CompositingConfig, workspace: Workspace, composites: Sequence[ShardRef]) -> list[ShardRef]:
    works = [
        PoolCompositesWork(round=0, index=number, image_format=config.image_format, composites=ref)
        for number, ref in enumerate(composites)
    ]
    return map_shards(pool_composites_shard, workspace, works, None, "pool items")


def _added(
    workspace: Workspace, result: CompositingResult, composites: Sequence[ShardRef]
) -> CompositingResult:
    """The result, once the composites have joined the dataset version."""
    addition, left_out = add_composites(workspace, composites)
    say(f"dataset: {addition.added} composites added, {left_out} left out")
    return result.model_copy(update={**addition._asdict(), "left_out": left_out})


def _shards(results: Sequence[ShardResult]) -> list[ShardRef]:
    return [result.shard for result in results if result.shard is not None]


def _ignored(sources: Iterable[PairSource | BackgroundSource]) -> dict[str, int]:
    """What lies in the sources' folders and is nothing to read, by reason."""
    folders = [source for source in sources if isinstance(source, FilesConfig)]
    return dict(sum((find_all(source).ignored for source in folders), Counter()).most_common())


def _check_sum(stage: StageResult, works: Sequence[CutOutWork | PlateWork]) -> None:
    """Each pair or background is kept or refused; how many a clip holds only reading it tells.

    Raises:
        FlowError: When a source changed while it was read.
    """
    counts = [work.count for work in works if work.count is not None]
    kept, refused = stage.kept, sum(stage.rejects.values())
    if len(counts) == len(works) and kept + refused != sum(counts):
        fault = f"of {sum(counts)} for {stage.stage}, {kept} were kept and {refused} refused"
        raise FlowError(f"{fault}: the source changed while it was read; run it again")


def _stage_result(
    workspace: Workspace, stage: CompositingStage, results: Sequence[ShardResult], ignored: dict[str, int]
) -> StageResult:
    rejects: Counter[str] = Counter()
    tallies: dict[str, Counter[str]] = {}
    for result in results:
        rejects.update(result.rejects)
        for heading, counts in result.tallies.items():
            tallies.setdefault(heading, Counter()).update(counts)
    shards = _shards(results)
    kept = sum(ref.samples for ref in shards)
    also = f", {sum(ignored.values())} ignored" if ignored else ""
    say(f"{stage}: {kept} kept, {rejects.total()} refused{also}")
    return StageResult(
        stage=stage,
        kept=kept,
        by_split=dict(sorted(by_split(workspace, shards).items())),
        rejects=dict(rejects.most_common()),
        ignored=ignored,
        tallies={heading: dict(sorted(counts.items())) for heading, counts in tallies.items()},
    )


def _why_none(result: CompositingResult) -> str:
    """Which stage gave nothing, and its most frequent reason."""
    for stage in result.stages:
        if not stage.kept:
            most = next(iter(stage.rejects.items()), None)
            why = f" ({most[1]}× {most[0]})" if most else ""
            return (
                f"compositing made no {stage.stage}{why}; see the reasons of the refused samples, or give "
                "more images"
            )
    raise AssertionError("every stage kept something")
