"""Evaluation of a remover whose successes are known beforehand, against numpy."""

import math
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from data_specs.arrays import Mask, RgbImage
from data_specs.assessment import QualityConfig
from data_specs.errors import FlowError
from data_specs.triplet import Triplet
from tasks.evaluation import evaluate as evaluating
from tasks.evaluation.evaluate import (
    Evaluation,
    evaluate,
    evaluate_remover,
    mask_psnr,
    read_triplets,
    removals_of,
    stream_triplets,
)
from tasks.evaluation.test_set import VersionSet, read_set
from tasks.storage.dataset import create_version
from tasks.storage.shards import encode_triplet, write_shard

QUALITY = QualityConfig()


class EveryThirdFails:
    """Gives the truth two levels brighter, and every third time the source untouched; notes the seeds."""

    model_hash = "every third fails"

    def __init__(self, triplets: Sequence[Triplet]) -> None:
        self.truths = [np.minimum(t.ground_truth, 253) + np.uint8(2) for t in triplets]
        self.seeds: list[int] = []

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        self.seeds = list(seeds)
        return [s if n % 3 == 0 else self.truths[n] for n, s in enumerate(sources)]


@pytest.fixture
def triplets(studio) -> list[Triplet]:
    return read_triplets(studio.workspace, [studio.tests, studio.pairs], "test")


def decibels(one: RgbImage, other: RgbImage, where: np.ndarray) -> float:
    error = np.mean((one[where].astype(float) - other[where]) ** 2)
    return min(60.0, 10 * math.log10(255**2 / error)) if error else 60.0


def test_the_figures_are_those_worked_out_apart(triplets: list[Triplet]) -> None:
    remover = EveryThirdFails(triplets)
    found = evaluate(remover, triplets, QUALITY)
    assert found.passed == [n % 3 != 0 for n in range(8)]
    assert (found.tested, found.successes, found.success_rate) == (8, 5, 5 / 8)
    assert sum(found.faults.values()) == 3
    assert set(found.faults) <= {"left-over", "effect left"}
    # Wilson's bounds are where the distance to the rate is 1.96 of the bound's own standard errors.
    for bound in (found.success_low, found.success_high):
        assert abs(5 / 8 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 8), rel=1e-5)
    assert found.success_low < 5 / 8 < found.success_high
    effect, background = [], []
    for number, triplet in enumerate(triplets):
        removal = triplet.source if number % 3 == 0 else remover.truths[number]
        difference = np.abs(triplet.source.astype(int) - triplet.ground_truth).max(2)
        changed = triplet.mask | (difference >= QUALITY.effect_levels)
        effect.append(decibels(removal, triplet.ground_truth, changed))
        background.append(decibels(removal, triplet.ground_truth, ~changed))
    assert found.psnr_effect == pytest.approx(np.mean(effect), rel=1e-4)
    assert found.psnr_background == pytest.approx(np.mean(background), rel=1e-4)
    inside = [
        decibels(t.source if n % 3 == 0 else remover.truths[n], t.ground_truth, t.mask)
        for n, t in enumerate(triplets)
    ]
    assert mask_psnr(remover, triplets)[0] == pytest.approx(np.mean(inside), rel=1e-4)


def test_a_triplets_noise_is_its_own(triplets: list[Triplet]) -> None:
    remover = EveryThirdFails(triplets)
    removals_of(remover, triplets)
    assert remover.seeds == [int(t.key[:12], 16) for t in triplets]
    removals_of(remover, triplets[3:])
    assert remover.seeds == [int(t.key[:12], 16) for t in triplets[3:]]


def test_only_the_split_and_origin_asked_for_are_read(studio, triplets: list[Triplet]) -> None:
    refs = [studio.tests, studio.pairs]
    assert len(triplets) == 8
    assert {t.split for t in triplets} == {"test"}
    assert len(read_triplets(studio.workspace, refs, "train", "studio:train")) == 12
    with pytest.raises(FlowError, match="no test triplet has an origin that starts with 'clip:'"):
        read_triplets(studio.workspace, refs, "test", "clip:")


class Untouched:
    """Gives every source back, and notes how many it got at once."""

    model_hash = "untouched"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        self.calls.append(len(sources))
        return list(sources)


def test_a_few_triplets_are_in_memory_at_once(studio, triplets, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = Untouched(), Untouched()
    expected = evaluate(whole, triplets, QUALITY)
    monkeypatch.setattr(evaluating, "_AT_ONCE", 3)
    taken: list[str] = []

    def noted():
        for triplet in stream_triplets(studio.workspace, [studio.tests, studio.pairs], "test"):
            assert len(taken) < sum(parts.calls) + 3, "none is read before the ones before are measured"
            taken.append(triplet.key)
            yield triplet

    assert evaluate(parts, noted(), QUALITY) == expected
    assert (whole.calls, parts.calls) == ([8], [3, 3, 2])


def test_no_image_of_another_split_or_origin_is_read(studio) -> None:
    """Their bytes are overwritten: a reader that decodes them fails."""
    space = studio.workspace
    samples = [
        replace(
            triplet,
            key=f"mixed-{number}",
            split="test" if number % 2 else "train",
            origin=f"{'clip' if number % 3 else 'folder'}:{number}",
        )
        for number, triplet in enumerate(read_triplets(space, [studio.tests], "test"))
    ]
    ref = write_shard(
        space,
        stage="triplets",
        round=0,
        index=7,
        input_digest="mixed",
        samples=[encode_triplet(sample, "png") for sample in samples],
    )
    path = space.shards_dir / f"{ref.name}.tar"
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        for sample in samples:
            if sample.split == "train" or sample.origin.startswith("folder:"):
                for name in ("source.png", "mask.png", "ground_truth.png"):
                    member = tar.getmember(f"{sample.key}.{name}")
                    data[member.offset_data : member.offset_data + member.size] = bytes(member.size)
    path.write_bytes(data)
    shown = read_triplets(space, [ref], "test", "clip:")
    assert [t.key for t in shown] == ["mixed-1", "mixed-5", "mixed-7"]
    version = create_version(space, [(ref, None)], None, "mixed").number
    chosen = VersionSet(workspace=space.root, version=version, origin="clip:")
    assert [t.key for t in read_set(chosen) if isinstance(t, Triplet)] == ["mixed-1", "mixed-5", "mixed-7"]
    assert [t.key for t in read_set(chosen, {"mixed-5"}) if isinstance(t, Triplet)] == ["mixed-5"]


def test_what_was_measured_once_is_remembered(studio) -> None:
    space = studio.workspace
    given = (space, "base", studio.remover, (studio.tests,), "test", QUALITY, "studio:")
    first = evaluate_remover.fn(*given)
    assert first.tested == 8
    shutil.rmtree(space.root / studio.remover.folder)
    assert evaluate_remover.fn(*given) == first, "nothing is loaded for it"
    count = len(space.ledger().results.all("evaluation", Evaluation, run=studio.remover.hash))
    stricter = QualityConfig(residual_levels=1)
    # The remover is still in this process's memory: loaded once.
    other = evaluate_remover.fn(*given[:5], stricter, "studio:")
    assert other.successes <= first.successes
    assert len(space.ledger().results.all("evaluation", Evaluation, run=studio.remover.hash)) == count + 1
