"""A discriminator's measure against numbers worked out by hand, and scoring in parts."""

from dataclasses import replace

import pytest

from models.rorem.remover import SamplingConfig
from tasks.registry.removers import RemoverRef
from tasks.rorem import score as scoring
from tasks.rorem.score import ScoreWork, kept_above, measure, score
from tasks.rorem.train_discriminator import DiscriminatorRef
from tasks.storage.shards import encode_candidate, write_shard


def test_measured_by_hand() -> None:
    scores = [0.95, 0.92, 0.97, 0.9, 0.55, 0.15, 0.12, 0.65]
    good = [True, True, False, True, True, False, False, False]
    found = measure(scores, good, score_threshold=0.9, round=2, reviewed=77)
    result = found.result
    assert (result.round, result.reviewed, result.tested) == (2, 77, 8)
    assert result.precision == pytest.approx(2 / 3), "0.9 itself is not kept"
    assert result.recall == pytest.approx(2 / 4)
    assert result.base_rate == pytest.approx(0.5)
    # Good above bad: 0.95 beats 3 of 4, 0.92 beats 3, 0.9 beats 3, 0.55 beats 2.
    assert result.auc == pytest.approx(11 / 16)
    assert result.success_gap == pytest.approx(abs(sum(scores) / 8 - 0.5))
    # Bins: 0.9–1 holds four (mean .935, rate .75); 0.5 one (.55, 1); 0.1 two (.135, 0); 0.6 one (.65, 0).
    expected = (4 * 0.185 + 0.45 + 2 * 0.135 + 0.65) / 8
    assert result.calibration_error == pytest.approx(expected)
    assert found.curves.scores_good == [0.95, 0.92, 0.9, 0.55]
    assert found.curves.scores_bad == [0.97, 0.15, 0.12, 0.65]
    assert [(b.count, b.success_rate) for b in found.curves.reliability] == [
        (2, 0.0),
        (1, 1.0),
        (1, 0.0),
        (4, 0.75),
    ]


def test_a_discriminator_that_keeps_nothing_has_no_precision() -> None:
    result = measure([0.1, 0.2], [True, False], 0.9, 1, 0).result
    assert (result.precision, result.recall) == (None, 0.0)
    assert measure([0.95, 0.99], [False, False], 0.9, 1, 0).result.recall == 0.0


def test_what_a_threshold_keeps_is_counted() -> None:
    scores, good = [0.95, 0.9, 0.91, 0.2], [True, True, False, True]
    kept = kept_above(0.9, scores, good)
    assert (kept.threshold, kept.items, kept.kept, kept.good) == (0.9, 4, 2, 1)
    nothing = kept_above(None, scores, good)
    assert (nothing.items, nothing.kept, nothing.good) == (4, 0, 0)


def test_the_gaps_error_is_the_deviation_of_the_mean() -> None:
    result = measure([0.75, 0.25, 0.75, 0.25], [True, True, False, False], 0.9, 1, 0).result
    # Differences -0.25, -0.75, 0.75, 0.25: mean 0, squares 0.0625 and 0.5625 twice.
    assert result.success_gap == pytest.approx(0)
    assert result.success_gap_error == pytest.approx((1.25 / 4) ** 0.5 / 2)


class Watching:
    """Notes how many proposals it scores at once. A score says where the candidate is among its item's."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def score(self, sources, masks, removals, proposals) -> list[float]:
        self.calls.append(list(proposals))
        return [proposals[:place].count(proposal) / 10 for place, proposal in enumerate(proposals)]


def test_a_shard_is_scored_in_parts_of_whole_items(asked, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching()
    monkeypatch.setattr(scoring, "open_discriminator", lambda *_: watching)
    monkeypatch.setattr(scoring, "_ITEMS_AT_ONCE", 2)
    candidates = [
        replace(c, key=f"{c.key}-{variant}", variant=variant)
        for c in list(asked.candidates.values())[:5]
        for variant in ("tight", "left", "right")
    ]
    ref = write_shard(
        asked.workspace,
        stage="candidates",
        round=1,
        index=1,
        input_digest="three of each",
        samples=[encode_candidate(candidate, "png") for candidate in candidates],
    )
    backbone = RemoverRef(hash="none", folder="none", sampling=SamplingConfig())
    discriminator = DiscriminatorRef(hash="watching", folder="none", backbone=backbone)
    assert score(asked.workspace, ScoreWork(ref=ref, discriminator=discriminator)) == 15
    assert [len(call) for call in watching.calls] == [6, 6, 3]
    assert [len(set(call)) for call in watching.calls] == [2, 2, 1]
    assert asked.workspace.ledger().scores.of("watching") == {
        candidate.key: place % 3 / 10 for place, candidate in enumerate(candidates)
    }
