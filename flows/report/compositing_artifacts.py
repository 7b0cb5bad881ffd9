"""What a compositing run shows in Prefect: counts and reasons, contact sheets, the rose, sizes."""

from collections.abc import Mapping, Sequence

import numpy as np
from prefect.artifacts import create_table_artifact

from data_specs.arrays import Mask, RgbImage
from data_specs.composite import Composite, CompositingResult, CompositingStage
from data_specs.cutout import Cutout
from data_specs.plate import Plate
from data_specs.reject import RefusedSample
from data_specs.shard import EncodedSample, ShardRef
from flows.report import tables, wording
from flows.report.artifacts import artifact_key, publish_chart, publish_grid
from flows.report.charts import count_bars, shadow_rose
from flows.report.sheets import Tile, draw_sheet, outlined
from tasks.objectclear.composite import SIZE_CLASSES
from tasks.storage.atomic_files import write_durably
from tasks.storage.shards import ShardReader, decode_composite, decode_cutout, decode_plate, decode_refused
from tasks.storage.shards.result import ShardResult
from tasks.storage.workspace import Workspace

_TILES = 24
_IN_A_REPORT = ("composites accepted", "composites refused")
_SHOWS: dict[CompositingStage, str] = {
    "cut-outs": "each layer on its capture's mean colour",
    "plates": "the image, and its flat ground tinted",
    "composites": "source, ground truth, and the object to remove outlined with its effect tinted",
}
_EFFECT_COLOUR = (255, 176, 0)


def publish_compositing(
    workspace: Workspace,
    result: CompositingResult,
    results: Mapping[CompositingStage, Sequence[ShardResult]],
) -> None:
    """The run's table, charts and contact sheets; the sheets also as PNG in the workspace's reports."""
    create_table_artifact(
        tables.compositing_rows(result), key="compositing", description=wording.compositing_sentence(result)
    )
    tallies = {heading: counts for stage in result.stages for heading, counts in stage.tallies.items()}
    if "shadow class" in tallies:
        publish_chart("shadow-rose", shadow_rose(tallies["shadow class"]), "Cut-outs by shadow direction")
    for heading in ("object area", "object and effect area"):
        if heading in tallies:
            bars = count_bars(f"Composites by {heading}", tallies[heading], SIZE_CLASSES)
            publish_chart(heading, bars, f"Composites by {heading}, as a fraction of the image")
    for stage, of_stage in results.items():
        _publish_stage(workspace, stage, of_stage)


def read_sheets(workspace: Workspace) -> dict[str, bytes]:
    """The composites' contact sheets of the last compositing run, by heading, each a PNG."""
    paths = {heading: _sheet_path(heading) for heading in _IN_A_REPORT}
    return {
        heading: (workspace.root / path).read_bytes()
        for heading, path in paths.items()
        if workspace.store.bring(path)
    }


def _sheet_path(heading: str) -> str:
    """Where a sheet lies in the workspace."""
    return f"reports/compositing/{artifact_key(heading)}.png"


def _publish_stage(workspace: Workspace, stage: CompositingStage, results: Sequence[ShardResult]) -> None:
    kept = _first(workspace, [result.shard for result in results], _TILES)
    refused = _first(workspace, [result.refused for result in results], _TILES)
    tiles = [_tile_of(stage, sample) for sample in kept]
    _publish_sheet(workspace, f"{stage} accepted", tiles, _SHOWS[stage])
    tiles = [refused_tile(decode_refused(sample)) for sample in refused]
    _publish_sheet(workspace, f"{stage} refused", tiles, "a few of each reason, which stands below")


def _publish_sheet(workspace: Workspace, heading: str, tiles: Sequence[Tile], shows: str) -> None:
    path = _sheet_path(heading)
    if not tiles:
        # An earlier run's sheet must not pass for this one's.
        (workspace.root / path).unlink(missing_ok=True)
        workspace.store.share(path)
        return
    (workspace.root / path).parent.mkdir(parents=True, exist_ok=True)
    png = draw_sheet(tiles)
    write_durably(workspace.root / path, png)
    workspace.store.share(path)
    publish_grid(heading, png, shows)


def _first(workspace: Workspace, refs: Sequence[ShardRef | None], count: int) -> list[EncodedSample]:
    """Samples from all over some shards, evenly, in order."""
    there = [ref for ref in refs if ref is not None]
    with ShardReader(workspace, there) as reader:
        places = np.unique(np.linspace(0, len(reader) - 1, min(count, len(reader))).round().astype(int))
        return [reader[int(place)] for place in places]


def _tile_of(stage: CompositingStage, sample: EncodedSample) -> Tile:
    if stage == "cut-outs":
        return cutout_tile(decode_cutout(sample))
    return plate_tile(decode_plate(sample)) if stage == "plates" else composite_tile(decode_composite(sample))


def cutout_tile(cutout: Cutout) -> Tile:
    """The layer on its capture's mean colour."""
    ground = np.asarray(cutout.tone.mean_rgb, np.float32)
    matte = cutout.matte[..., None].astype(np.float32) / 255
    lit = ground * (1 - cutout.darkening / np.float32(255)) + cutout.brightening
    shown = matte * cutout.image + (1 - matte) * lit
    return Tile(
        [np.clip(shown, 0, 255).astype(np.uint8)], f"{cutout.class_name}; shadow {cutout.shadow_class}"
    )


def plate_tile(plate: Plate) -> Tile:
    """The image, and the same with its ground tinted."""
    horizon = "no horizon" if plate.horizon is None else f"horizon at row {plate.horizon:.0f}"
    return Tile([plate.image, outlined(plate.image, plate.ground)], f"{plate.origin}; {horizon}")


def composite_tile(composite: Composite) -> Tile:
    """The source, the ground truth, and M_fg with M_o in it."""
    removed = composite.objects[composite.removed]
    images = [composite.source, composite.ground_truth, both_masks(composite)]
    return Tile(
        images,
        f"{removed.class_name}, {composite.removed + 1} of {len(composite.objects)}; shadow "
        f"{removed.shadow_class}; {composite.split}",
    )


def both_masks(composite: Composite) -> RgbImage:
    """The source with M_o outlined, and M_fg about it tinted in another colour."""
    return outlined(tinted(composite.source, composite.foreground & ~composite.mask), composite.mask)


def tinted(image: RgbImage, region: Mask) -> RgbImage:
    """H×W×3 uint8, half of a region's colour an amber."""
    amber = (image * 0.5 + np.array(_EFFECT_COLOUR) * 0.5).astype(np.uint8)
    return np.where(region[..., None], amber, image)


def refused_tile(refused: RefusedSample) -> Tile:
    """What was refused, and why."""
    reject = refused.reject
    # Backwards by name: the source before the ground truth, the plate before the cut-outs.
    images = [refused.images[name] for name in sorted(refused.images, reverse=True)]
    return Tile(images[:2], f"{reject.reason.value}: {reject.detail}")
