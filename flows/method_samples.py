"""Sample grids of an evaluation: worst, median and best pictures of each method, as all methods left them."""

from collections.abc import Mapping, Sequence

from data_specs.arrays import RgbImage
from data_specs.comparison import PictureResult
from data_specs.metric import MetricName
from data_specs.triplet import Triplet
from flows.report.sheets import MethodsRow, draw_methods
from tasks.evaluation.benchmark import method_label, method_remover, same_size_batches
from tasks.evaluation.evaluate import removals_of
from tasks.evaluation.statistics import worst_median_best
from tasks.evaluation.test_set import EvaluationSet, read_set

RANKED_BY: MetricName = "psnr_fg"
"""Inside object and effects: the part a removal is there for, and always measured."""

Rows = Mapping[str, Sequence[PictureResult]]
"""Each method's rows, by its label."""


def method_grids(
    methods: Sequence[str], pictures: EvaluationSet, rows: Rows, rows_each: int
) -> dict[str, bytes]:
    """A grid a method: heading to PNG.

    The few pictures shown are removed from once more; removals are not kept while measuring.

    Args:
        methods: As ``tasks.evaluation.benchmark.method_remover`` knows them.
        pictures: The pinned set.
        rows: What was measured.
        rows_each: How many worst, median and best pictures; 0 for no grids.
    """
    if rows_each == 0:
        return {}
    chosen = {method: worst_median_best(found, RANKED_BY, rows_each) for method, found in rows.items()}
    keys = {row.key for parts in chosen.values() for part in parts.values() for row in part}
    triplets = {t.key: t for t in read_set(pictures) if isinstance(t, Triplet) and t.key in keys}
    removals = {
        method_label(method): _removals(method, pictures, list(triplets.values())) for method in methods
    }
    figures = {
        method: {row.key: f"{row.values[RANKED_BY]:.1f} dB" for row in found}
        for method, found in rows.items()
    }
    return {
        f"{method}: worst, median and best": draw_methods(
            [
                _row(triplets[row.key], part, removals, figures)
                for part, found in parts.items()
                for row in found
            ],
            list(removals),
        )
        for method, parts in chosen.items()
    }


def _removals(method: str, pictures: EvaluationSet, triplets: Sequence[Triplet]) -> dict[str, RgbImage]:
    remover = method_remover(method, pictures)
    return {
        triplet.key: removal
        for batch in same_size_batches(triplets)
        for triplet, removal in zip(batch, removals_of(remover, batch), strict=True)
    }


def _row(
    triplet: Triplet,
    part: str,
    removals: Mapping[str, Mapping[str, RgbImage]],
    figures: Mapping[str, Mapping[str, str]],
) -> MethodsRow:
    return MethodsRow(
        source=triplet.source,
        mask=triplet.mask,
        removals=[found[triplet.key] for found in removals.values()],
        ground_truth=triplet.ground_truth,
        figures=[figures[method][triplet.key] for method in removals],
        rank=part,
        caption=triplet.origin,
    )
