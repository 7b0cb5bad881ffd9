"""Fill a workspace for a cycle: captured and pasted pairs, a pool with its hidden truth, and the base."""

import shutil
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from data_specs.composite import CompositingResult, PooledComposites
from data_specs.errors import FlowError, InputError, ModelError
from data_specs.keys import Split, derive_key
from data_specs.shard import ImageFormat, SampleRow, ShardRef
from flows.objectclear.compositing import CompositingConfig
from flows.runtime.shards import map_shards, say
from models.diffusion.checkpoints import published_folder
from models.diffusion.sdxl import is_published_layout
from models.rorem.remover import InpaintingRemover, SamplingConfig
from tasks.objectclear.composite import ComposeConfig
from tasks.objectclear.plate import PlateConfig
from tasks.registry.champions import promote
from tasks.registry.store import BASE_FOLDER, keep_model, network_at, record
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.clip.clip import ClipConfig
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.scene import World
from tasks.sources.synthetic.shards import RenderWork, render_shard
from tasks.sources.video import capture_shard, capture_work
from tasks.storage.dataset import load_samples
from tasks.storage.dataset.versions import create_version
from tasks.storage.workspace import Workspace

_SAMPLES_A_SHARD = 500


class PreparationSettings(BaseModel):
    """What a cycle starts with."""

    model_config = ConfigDict(frozen=True)

    clip: ClipConfig = Field(default=ClipConfig(), description="The fixed-camera clip for the clip pairs.")
    world: World = Field(default=World(), description="Settings of the synthetic scenes.")
    size_px: int = Field(default=64, ge=16, le=2048, description="Side of all images, in pixels.")
    initial_pairs: int = Field(
        default=500,
        ge=1,
        description="Number of synthetic pairs with a pasted object without a shadow (as in MULAN).",
    )
    validation_pairs: int = Field(
        default=200, ge=1, description="Number of pairs on which two removers are compared for promotion."
    )
    test_pairs: int = Field(default=300, ge=1, description="Number of test pairs. No phase uses them.")


class PoolSizes(NamedTuple):
    """How many unlabelled items a cycle needs."""

    train: int
    """People review them, or discriminators score them."""
    validation: int
    """Discriminators are measured on them."""


def prepare(
    workspace: Workspace,
    preparation: PreparationSettings,
    pool: PoolSizes,
    seed: int,
    image_format: ImageFormat = "png",
) -> None:
    """Write every shard of the preparation, and the first dataset version.

    Each step is harmless when repeated. Initial pairs: the clip's, and synthetic pairs without shadows. The
    pool's images have shadows: what growth can teach is that they go too.

    Args:
        workspace: Where.
        preparation: What the images are like, and how many pairs.
        pool: How many unlabelled items; none are rendered if ``train`` is 0.
        seed: Of the scenes.
        image_format: Format of all images.
    """
    say("preparing the clip's pairs, the synthetic pairs and the pool")
    clip = _capture(workspace, preparation.clip, image_format)
    render = partial(_render, workspace, preparation, seed, image_format)
    pasted = render("train", preparation.initial_pairs, copy_paste=True)
    render("validation", preparation.validation_pairs, copy_paste=False)
    render("test", preparation.test_pairs, copy_paste=False)
    if pool.train:
        render_pool = partial(_render_pool, workspace, preparation, seed, image_format)
        render_pool("train", pool.train)
        render_pool("validation", pool.validation)
    if workspace.ledger().versions.current() is None:
        selection = [(ref, None) for ref in (*clip, *pasted)]
        create_version(workspace, selection, None, "initial pairs: clip and pasted synthetic objects")


def check_ingested(workspace: Workspace, pool: PoolSizes) -> None:
    """Check that a workspace has what a cycle needs, before its first training and not days later.

    Args:
        workspace: Filled by ``cleanplate ingest``.
        pool: How many unlabelled items all rounds need.

    Raises:
        FlowError: If there is no dataset version, a split has no triplet, or the pool is too small.
    """
    ledger = workspace.ledger()
    version = ledger.versions.current()
    if version is None or not version.by_split.get("train"):
        raise FlowError(f"{workspace.root}: has no training pairs; run `cleanplate ingest` with some first")
    present = {row.split for rows in _triplets(workspace).values() for row in rows}
    for split in ("validation", "test"):
        if split not in present:
            raise FlowError(
                f"{workspace.root}: has no {split} pairs; removers are compared on them, so ingest "
                f"more images, or raise --{split}-fraction"
            )
    apart = 0 if ledger.draws.pool_count("validation", truth_known=True) >= pool.validation else 1
    needed, items = pool.train + apart * pool.validation, ledger.draws.pool_count("train")
    if items < needed:
        raise FlowError(
            f"the pool has {items} training items, and the rounds need {needed}; run `cleanplate ingest "
            "pool`, or set fewer rounds or items"
        )


def _triplets(workspace: Workspace) -> dict[str, list[SampleRow]]:
    """The rows of all captured pairs, by shard."""
    ledger = workspace.ledger()
    return ledger.shards.samples_in([ref.name for ref in ledger.shards.all(stage="triplets")])


def _capture(workspace: Workspace, clip: ClipConfig, image_format: ImageFormat) -> list[ShardRef]:
    """The clip's shard; a clip that gives nothing is told of and left out, and the cycle goes on."""
    work = capture_work(clip, index=0).model_copy(update={"image_format": image_format})
    try:
        return map_shards(capture_shard, workspace, [work], None, "clip")
    except InputError as error:
        say(f"the clip is left out: {error}")
        return []


def _render(
    workspace: Workspace,
    preparation: PreparationSettings,
    seed: int,
    image_format: ImageFormat,
    split: Split,
    count: int,
    *,
    copy_paste: bool,
) -> list[ShardRef]:
    """Triplets of the studio: pasted ones to start from, real-looking ones to be measured on."""
    renderer = _synthetic(preparation, split, seed, "pairs", copy_paste=copy_paste)
    # The clip's shard is number 0.
    works = _works("triplets", renderer, image_format, count, first_index=1)
    return map_shards(render_shard, workspace, works, None, f"synthetic pairs, {split}")


def _render_pool(
    workspace: Workspace,
    preparation: PreparationSettings,
    seed: int,
    image_format: ImageFormat,
    split: Split,
    count: int,
) -> None:
    renderer = _synthetic(preparation, split, seed, "pool", copy_paste=False)
    works = _works("pool", renderer, image_format, count, first_index=0)
    map_shards(render_shard, workspace, works, None, f"pool, {split}")


def _works(
    stage: Literal["triplets", "pool"],
    renderer: SyntheticConfig,
    image_format: ImageFormat,
    count: int,
    first_index: int,
) -> list[RenderWork]:
    return [
        RenderWork(
            round=0,
            index=index,
            image_format=image_format,
            stage=stage,
            renderer=renderer,
            first=first,
            count=size,
        )
        for index, (first, size) in enumerate(_parts(count), first_index)
    ]


def _synthetic(
    preparation: PreparationSettings,
    split: Split,
    seed: int,
    use: Literal["pairs", "pool"],
    *,
    copy_paste: bool,
) -> SyntheticConfig:
    """Pairs and pool are of one world and never of one scene."""
    return SyntheticConfig(
        world=preparation.world,
        size_px=preparation.size_px,
        seed=2 * seed + (use == "pool"),
        split=split,
        copy_paste=copy_paste,
    )


def _parts(count: int) -> list[tuple[int, int]]:
    """(first, size) of each shard."""
    starts = range(0, count, _SAMPLES_A_SHARD)
    return [(first, min(_SAMPLES_A_SHARD, count - first)) for first in starts]


def enter_base(workspace: Workspace, base_folder: str | None, sampling: SamplingConfig) -> None:
    """The base, written into the workspace, becomes the first champion where there is none.

    Args:
        workspace: Where.
        base_folder: The base's folder, in the published layout or in ours, or its name on the hub. None:
            the shipped one.
        sampling: How the base samples.

    Raises:
        ModelError: If the folder holds no inpainting network.
    """
    champion = workspace.ledger().models.champion("remover")
    if champion is not None:
        say(f"the workspace has a champion, {champion.hash}; the cycle goes on from there")
        return
    path = BASE_FOLDER if base_folder is None else published_folder(base_folder)
    if not path.is_dir():
        raise ModelError(
            f"{path}: is no folder; `cleanplate doctor --profile full` prints how to fetch SDXL-inpainting"
        )
    network = network_at(path)
    base = InpaintingRemover(network, sampling)
    # Of a published pipeline we need no text encoder: the prompt is embedded once.
    save = network.save if is_published_layout(path) else partial(_copy, path)
    folder = keep_model(workspace, f"base-{base.model_hash}", save)
    record(
        workspace,
        kind="remover",
        model_hash=base.model_hash,
        folder=folder,
        parent=None,
        dataset_version=None,
        metrics={},
        settings={"sampling": sampling.model_dump(mode="json")},
    )
    promote(workspace, "remover", base.model_hash, "the base, where every cycle starts")


def _copy(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, dirs_exist_ok=True)


# Composites for a cycle's pool: a small compositing run in the cycle's own world (ObjectClear, fact 15).

_CAPTURED_LARGER = 2
"""Times the composites' side: a cut-out is reduced to its place and never enlarged."""


class CycleComposites(BaseModel):
    """How large a cycle's compositing run is; the defaults are the demo's."""

    model_config = ConfigDict(frozen=True)

    pairs: int = Field(
        default=160, ge=1, le=100_000, description="Number of synthetic pairs for the cut-outs."
    )
    backgrounds: int = Field(
        default=40, ge=1, le=100_000, description="Number of empty synthetic scenes for the plates."
    )
    attempts: int = Field(default=200, ge=1, le=100_000, description="Number of composites to attempt.")
    use: Literal["training", "pool"] = Field(
        default="training",
        description="Where composites go. training: they join the dataset with their ground truth, before "
        "the first training. pool: phases draw them as unlabelled items.",
    )


def compositing_config(
    folder: Path, sizes: CycleComposites, preparation: PreparationSettings, seed: int
) -> CompositingConfig:
    """The run's settings: train scenes of the cycle's world that neither its pairs nor its pool show."""
    # The preparation's seeds are small numbers; this one is apart from them all.
    apart = int(derive_key("cycle composites", seed)[:12], 16)
    plates = SyntheticConfig(world=preparation.world, size_px=preparation.size_px, seed=apart)
    captures = plates.model_copy(update={"size_px": _CAPTURED_LARGER * preparation.size_px})
    return CompositingConfig(
        workspace=folder,
        pairs=(SyntheticPairs(renderer=captures, count=sizes.pairs),),
        backgrounds=(SyntheticBackgrounds(renderer=plates, scenes=sizes.backgrounds),),
        attempts=sizes.attempts,
        image_format="png",
        add_to_pool=sizes.use == "pool",
        add_to_dataset=sizes.use == "training",
        # The cycle's own size is large enough for its own plates.
        plates=PlateConfig(min_side_px=preparation.size_px),
        compositing=ComposeConfig(seed=seed),
    )


def pooled_composites(workspace: Workspace, made: CompositingResult, version: int) -> PooledComposites:
    """What became of the composites: how many phases have drawn, and what a version holds of them."""
    ledger = workspace.ledger()
    held = ledger.shards.samples_in([ref.name for ref in ledger.shards.all(stage="composites")])
    composed = {row.key: row.scene for rows in held.values() for row in rows}
    pooled = [key for key in ledger.draws.pool_items("train") if key in composed]
    scenes = {composed[key] for key in pooled}
    samples = load_samples(workspace, version)
    return PooledComposites(
        made=made,
        drawn=len(pooled) - len(ledger.draws.undrawn(pooled)),
        grown=sum(sample.stage == "grown" and sample.scene in scenes for sample in samples),
        joined=sum(sample.split == "train" and sample.key in composed for sample in samples),
    )
