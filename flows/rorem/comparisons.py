"""What the last remover is compared with: a fill on the clip, and ObjectClear under sloppy masks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from data_specs.arrays import RgbImage
from data_specs.assessment import QualityConfig
from data_specs.errors import FlowError
from data_specs.round import ClipResult, MaskResult
from data_specs.triplet import Triplet
from flows.report.pages import SLOPPY_GRID
from flows.report.phase_grids import keep_grid
from flows.report.sheets import MethodsRow, draw_methods
from models.baselines.telea import TeleaFill
from models.images.sloppy_masks import SLOPPY_MASKS
from models.metrics.psnr import psnr
from tasks.evaluation.evaluate import mask_psnr, read_triplets, removals_of, stream_triplets
from tasks.evaluation.success import assess, mean_psnr
from tasks.registry.removers import OBJECT_CLEAR_FOLDER, RemoverRef, load_remover, open_remover
from tasks.storage.workspace import Workspace

_SHOWN = ("exact", "shifted 2 px", "eroded 2 px", "right half")
_TRIPLETS = 24
_ROWS = 2
"""Images of each mask in the grid."""


def clip_results(workspace: Workspace, removers: dict[str, RemoverRef]) -> list[ClipResult]:
    """Telea's fill and the removers on the clip's held-out time block; nothing where there is no clip."""
    refs = workspace.ledger().shards.all(stage="triplets")
    try:
        triplets = read_triplets(workspace, refs, "test", "clip:")
    except FlowError:
        return []
    models = {"telea": TeleaFill(), **{name: load_remover(workspace, ref) for name, ref in removers.items()}}
    results: list[ClipResult] = []
    for method, model in models.items():
        inside, outside = mask_psnr(model, triplets)
        results.append(
            ClipResult(method=method, triplets=len(triplets), psnr_mask=inside, psnr_background=outside)
        )
    return results


def mask_results(
    workspace: Workspace, remover: RemoverRef, origin: str, quality: QualityConfig
) -> list[MaskResult]:
    """The remover and the shipped ObjectClear on test triplets, under masks as people draw them.

    Every mask has one result for each of the two. A grid of some of the images is kept, too. There is nothing
    to compare with where ObjectClear's weights are not installed.

    Args:
        workspace: Where.
        remover: Gets the same masks.
        origin: The test triplets' origin starts so.
        quality: The limits of a success.
    """
    if not OBJECT_CLEAR_FOLDER.is_dir():
        return []
    refs = workspace.ledger().shards.all(stage="triplets")
    triplets = list(islice(stream_triplets(workspace, refs, "test", origin), _TRIPLETS))
    models = {
        "final remover": load_remover(workspace, remover),
        "ObjectClear": open_remover("object-clear", None).remover,
    }
    results: list[MaskResult] = []
    rows: list[MethodsRow] = []
    for mask in _SHOWN:
        given = [replace(triplet, mask=SLOPPY_MASKS[mask](triplet.mask)) for triplet in triplets]
        removals = {method: removals_of(model, given) for method, model in models.items()}
        results += [_result(mask, method, made, triplets, quality) for method, made in removals.items()]
        rows += _rows(mask, given[:_ROWS], removals, triplets, quality)
    keep_grid(workspace, SLOPPY_GRID, draw_methods(rows, list(models)))
    return results


def _result(
    mask: str, method: str, made: Sequence[RgbImage], triplets: Sequence[Triplet], quality: QualityConfig
) -> MaskResult:
    """M_fg and success follow from the triplet's own mask, whatever mask was given."""
    pairs = list(zip(made, triplets, strict=True))
    assessed = [assess(removal, t.source, t.mask, t.ground_truth, quality) for removal, t in pairs]
    whole = [psnr(removal, t.ground_truth, np.ones_like(t.mask)) for removal, t in pairs]
    effect, _ = mean_psnr(assessed)
    return MaskResult(
        mask=mask,
        method=method,
        triplets=len(pairs),
        psnr_effect=effect,
        psnr=float(np.mean(whole)),
        success_rate=sum(a.success for a in assessed) / len(pairs),
    )


def _rows(
    mask: str,
    given: Sequence[Triplet],
    removals: Mapping[str, Sequence[RgbImage]],
    triplets: Sequence[Triplet],
    quality: QualityConfig,
) -> list[MethodsRow]:
    """The first images, with the dB inside M_fg below each removal."""
    rows: list[MethodsRow] = []
    for number, shown in enumerate(given):
        made = [by_method[number] for by_method in removals.values()]
        own = triplets[number].mask
        assessed = [assess(one, shown.source, own, shown.ground_truth, quality) for one in made]
        figures = [f"{one.psnr_effect:.1f} dB" for one in assessed]
        rows.append(MethodsRow(shown.source, shown.mask, made, shown.ground_truth, figures, mask, ""))
    return rows
