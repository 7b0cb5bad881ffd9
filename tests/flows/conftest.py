"""A plausible cycle for the tests of what is shown of it."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from prefect.testing.utilities import prefect_test_harness

from data_specs.round import (
    ClipResult,
    CycleResult,
    DatasetSummary,
    DiscriminatorCurves,
    DiscriminatorResult,
    LossCurve,
    MaskResult,
    PhaseKind,
    PhaseResult,
    ReliabilityBin,
)
from flows.report.sheets import SampleRow
from tests.tasks.conftest import asked, filmed, studio

__all__ = ["asked", "filmed", "studio"]


def phase(name: str, kind: PhaseKind, tested: int, kept: int, total: int, rate: float, promoted: bool = True):
    reason = (
        "better than the champion by more than its interval" if promoted else "0.4 points below the champion"
    )
    return PhaseResult(
        name=name,
        kind=kind,
        tested=tested,
        kept=kept,
        total=total,
        success_rate=rate,
        success_low=rate - 0.04,
        success_high=rate + 0.045,
        psnr_effect=18 + 10 * rate,
        psnr_background=34.2,
        promoted=promoted,
        reason=reason,
        seconds=61.4,
    )


def discriminator_curves(round_number: int) -> DiscriminatorCurves:
    chance = np.random.default_rng(round_number)
    good, bad = chance.beta(4, 1.3, 260), chance.beta(1.4, 2.6, 240)
    bins = []
    for low in np.arange(10) / 10:
        n_good = int(((good >= low) & (good < low + 0.1)).sum())
        n_bad = int(((bad >= low) & (bad < low + 0.1)).sum())
        count = n_good + n_bad
        rate = n_good / count if count else 0.0
        bins.append(
            ReliabilityBin(low=low, high=low + 0.1, count=count, mean_score=low + 0.05, success_rate=rate)
        )
    return DiscriminatorCurves(
        round=round_number, scores_good=good.tolist(), scores_bad=bad.tolist(), reliability=bins
    )


@pytest.fixture
def cycle_result() -> CycleResult:
    return CycleResult(
        phases=[
            phase("base model", "base", 0, 0, 0, 0.082),
            phase("initialisation", "initialisation", 640, 640, 640, 0.412),
            phase("human 1", "human", 600, 288, 928, 0.561),
            phase("automation 1", "automation", 1200, 402, 1330, 0.604),
            phase("human 2", "human", 600, 371, 1701, 0.688),
            phase("automation 2", "automation", 1200, 366, 2067, 0.684, promoted=False),
        ],
        discriminators=[
            DiscriminatorResult(
                round=1,
                reviewed=600,
                tested=500,
                precision=0.931,
                recall=0.34,
                auc=0.842,
                base_rate=0.48,
                calibration_error=0.031,
                success_gap=0.018,
            ),
            DiscriminatorResult(
                round=2,
                reviewed=1200,
                tested=500,
                precision=0.874,
                recall=0.41,
                auc=0.861,
                base_rate=0.52,
                calibration_error=0.027,
                success_gap=0.041,
            ),
        ],
        clip=[
            ClipResult(method="telea", triplets=84, psnr_mask=21.84, psnr_background=40.1),
            ClipResult(method="initialisation", triplets=84, psnr_mask=22.31, psnr_background=37.2),
            ClipResult(method="final", triplets=84, psnr_mask=24.05, psnr_background=37.9),
        ],
        masks=[
            MaskResult(
                mask=mask, method=method, triplets=40, psnr_effect=effect, psnr=psnr, success_rate=success
            )
            for mask, method, effect, psnr, success in (
                ("exact", "final remover", 31.2, 38.4, 0.75),
                ("exact", "ObjectClear", 34.1, 41.0, 0.9),
                ("right half", "final remover", 20.3, 30.5, 0.1),
                ("right half", "ObjectClear", 29.9, 37.7, 0.6),
            )
        ],
        dataset=DatasetSummary(version=6, samples=2067, shards=41),
        rejects={"mask is empty": 3, "image is 16-bit": 1, "camera moved": 12},
        seconds=503.2,
        peak_memory_gb=2.81,
    )


@pytest.fixture
def curves() -> list[DiscriminatorCurves]:
    return [discriminator_curves(1), discriminator_curves(2)]


@pytest.fixture
def losses() -> list[LossCurve]:
    chance = np.random.default_rng(5)
    steps = np.arange(0, 900, 6)
    names = (
        "initialisation",
        "human 1",
        "discriminator 1",
        "automation 1",
        "human 2",
        "discriminator 2",
        "automation 2",
    )
    return [
        LossCurve(
            name=name,
            steps=steps.tolist(),
            losses=(0.08 + 0.5 * np.exp(-steps / 160) + chance.gamma(2, 0.02, steps.size)).tolist(),
        )
        for name in names
    ]


def sample_row(seed: int, score: float | None, caption: str) -> SampleRow:
    chance = np.random.default_rng(seed)
    soft = cv2.resize(chance.integers(90, 200, (4, 4, 3), dtype=np.uint8), (64, 64)).astype(np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    centre = (int(chance.integers(20, 44)), int(chance.integers(20, 44)))
    mask = cv2.circle(mask, centre, 13, 1, -1)
    source = soft.copy()
    source[mask > 0] = chance.integers(0, 255, 3)
    return SampleRow(
        source, mask > 0, cv2.GaussianBlur(soft, (0, 0), 3).astype(np.uint8), soft, score, caption
    )


@pytest.fixture
def sample_rows() -> list[SampleRow]:
    return [
        sample_row(1, 0.97, "kept by the discriminator"),
        sample_row(2, 0.61, "not kept: at most 0.9"),
        sample_row(3, None, "reviewed: YES"),
    ]


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the test session's own, on a temporary database."""
    with prefect_test_harness(server_startup_timeout=120):
        yield
