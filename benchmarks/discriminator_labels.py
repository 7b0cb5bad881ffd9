"""Measure what teaches a discriminator: how many answers, how many of them wrong, known truth, another rule.

It reads the workspaces of `benchmarks/growth.py --folder`, and fits the voters alone: the network is one vote
of five and changes little. Labels come from one of two rules of success:

- ``residual`` is the oracle's own: spots that differ from the truth.
- ``psnr`` is another metric with other limits: 25 dB inside object and effect, 33 dB elsewhere.

Each case is trained on the human phase's candidates. It is calibrated on one candidate of each calibrating
item. It is measured on fresh items with true labels: AUC, recall and precision above 0.9 on one candidate an
item, and what either rule of acceptance keeps of the best candidates. ``ratio`` is the AUC with a third of
the answers and known truth, divided by the AUC with all answers alone.

Without ``--folder`` one small cycle is run first.

Run: python -m benchmarks.discriminator_labels --folder GROWTH_FOLDER --json
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from benchmarks.growth import run_cycle
from data_specs.assessment import Assessment, QualityConfig
from data_specs.candidate import Candidate
from data_specs.keys import derive_key
from data_specs.shard import Purpose
from data_specs.triplet import Triplet
from models.rorem.calibration import area_under_curve, fit_platt, pure_threshold
from models.rorem.discriminator import statistics_of
from models.rorem.discriminator_heads import fit_voters
from tasks.evaluation.success import assess
from tasks.review.oracle import read_candidates, read_truths
from tasks.rorem.questions import best_of_items, calibrating_candidates, one_of_items
from tasks.rorem.score import kept_above
from tasks.rorem.train_discriminator import score_arguments
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace

Row = dict[str, Any]
RULES: dict[str, Callable[[Assessment], bool]] = {
    "residual": lambda measured: measured.success,
    "psnr": lambda measured: measured.psnr_effect >= 25 and measured.psnr_background >= 33,
}
_VOTERS = 4
_PURPOSES: tuple[Purpose, ...] = ("human", "pairs", "calibration", "fresh")


@dataclass(frozen=True, slots=True)
class Case:
    """What a discriminator learns from."""

    name: str
    rule: str
    wrong: float
    """Fraction of wrong answers, in training and calibration."""
    answered: float
    """Fraction of the human phase's items that are answered."""
    known_truth: bool
    """Whether candidates of training pairs are labelled too."""


CASES = [
    Case("all answers", "residual", 0.02, 1, known_truth=False),
    Case("all answers, known truth", "residual", 0.02, 1, known_truth=True),
    Case("a third, alone", "residual", 0.02, 1 / 3, known_truth=False),
    Case("a third, known truth", "residual", 0.02, 1 / 3, known_truth=True),
    Case("known truth alone", "residual", 0.02, 0, known_truth=True),
    Case("10 % wrong", "residual", 0.1, 1, known_truth=True),
    Case("the other rule", "psnr", 0.02, 1, known_truth=True),
    Case("the other rule, 10 % wrong", "psnr", 0.1, 1, known_truth=True),
]


@dataclass(frozen=True, slots=True)
class Labelled:
    """The candidates of one purpose with statistics, and whether each is good by either rule."""

    numbers: dict[str, torch.Tensor]
    items: dict[str, list[str]]
    good: dict[str, dict[str, bool]]
    """By rule and candidate."""

    def answers(self, rule: str, wrong: float) -> dict[str, bool]:
        """What a reviewer says who errs in a fraction of the cases."""
        return {key: good ^ (_fraction("slip", key) < wrong) for key, good in self.good[rule].items()}


def read_labelled(workspace: Workspace, purpose: Purpose) -> Labelled:
    """Candidates of a purpose whose truth is known, measured and labelled."""
    refs = [ref for ref in workspace.ledger().shards.all(stage="candidates") if ref.purpose == purpose]
    shown = [candidate for ref in refs for candidate in read_candidates(workspace, ref)]
    truths = _truths_of_pairs(workspace) if purpose == "pairs" else {}
    truths = truths or read_truths(workspace, {candidate.item for candidate in shown})
    numbers = statistics_of(*score_arguments(shown), device=torch.device("cpu"))
    measured = {candidate.key: _assessed(candidate, truths) for candidate in shown}
    items: dict[str, list[str]] = {}
    for candidate in shown:
        items.setdefault(candidate.item, []).append(candidate.key)
    return Labelled(
        numbers=dict(zip([candidate.key for candidate in shown], numbers, strict=True)),
        items=items,
        good={name: {key: rule(each) for key, each in measured.items()} for name, rule in RULES.items()},
    )


def _truths_of_pairs(workspace: Workspace) -> dict[str, Triplet]:
    shards = workspace.ledger().shards
    refs = [*shards.all(stage="triplets"), *shards.all(stage="composites")]
    with ShardReader(workspace, refs) as reader:
        return {key: decode_triplet(reader.by_key(key)) for key in reader.keys}


def _assessed(candidate: Candidate, truths: Mapping[str, Triplet]) -> Assessment:
    truth = truths[candidate.item].ground_truth
    return assess(candidate.removal, candidate.source, candidate.mask, truth, QualityConfig())


def measured_case(case: Case, labelled: Mapping[str, Labelled], seed: int) -> Row:
    """One discriminator: taught, calibrated, measured."""
    human, pairs, calibration, fresh = (labelled[purpose] for purpose in _PURPOSES)
    answers = human.answers(case.rule, case.wrong)
    taught = {
        key: answers[key]
        for item, keys in human.items.items()
        for key in keys
        if _fraction("answered", item) < case.answered
    }
    numbers = {key: human.numbers[key] for key in taught}
    if case.known_truth:
        taught |= pairs.good[case.rule]
        numbers |= pairs.numbers
    voters = fit_voters(torch.stack([numbers[key] for key in taught]), list(taught.values()), _VOTERS, seed)
    logits = {purpose: _logits(voters, labelled[purpose]) for purpose in ("calibration", "fresh")}
    said = calibration.answers(case.rule, case.wrong)
    asked = calibrating_candidates(calibration.items, logits["calibration"], seed)
    slope, offset = fit_platt(
        [logits["calibration"][key] for key in asked], [said[key] for key in asked], case.wrong
    )
    scores = {
        purpose: {key: 1 / (1 + float(np.exp(-(slope * logit + offset)))) for key, logit in of.items()}
        for purpose, of in logits.items()
    }
    best = set(best_of_items(calibration.items, scores["calibration"]))
    shown = [key for key in asked if key in best]
    of_best = [scores["calibration"][key] for key in shown]
    threshold = pure_threshold(of_best, [said[key] for key in shown], 0.9, 0.9, case.wrong)
    figures = _on_fresh(fresh, scores["fresh"], fresh.good[case.rule], threshold, seed)
    return {"case": case.name, "seed": seed, "answers": len(answers) * case.answered, **figures}


def _logits(voters: torch.nn.Module, labelled: Labelled) -> dict[str, float]:
    numbers = torch.stack(list(labelled.numbers.values()))
    return dict(zip(labelled.numbers, voters(numbers).mean(1).tolist(), strict=True))


def _on_fresh(
    fresh: Labelled, scores: Mapping[str, float], good: Mapping[str, bool], threshold: float | None, seed: int
) -> Row:
    drawn = one_of_items(fresh.items, seed)
    values, truth = np.array([scores[key] for key in drawn]), np.array([good[key] for key in drawn])
    best = best_of_items(fresh.items, scores)
    by_score, by_purity = (
        kept_above(minimum, [scores[key] for key in best], [good[key] for key in best])
        for minimum in (0.9, threshold)
    )
    kept = values > 0.9
    return {
        "auc": area_under_curve(values.tolist(), truth.tolist()),
        "base_rate": float(truth.mean()),
        "recall": float((kept & truth).sum() / truth.sum()),
        "precision": float(truth[kept].mean()) if kept.any() else None,
        "gap": float(abs(values.mean() - truth.mean())),
        "gap_error": float((values - truth).std() / np.sqrt(len(values))),
        "kept_by_score": by_score.kept / by_score.items,
        "pure_by_score": by_score.good / by_score.kept if by_score.kept else None,
        "kept_by_purity": by_purity.kept / by_purity.items,
        "pure_by_purity": by_purity.good / by_purity.kept if by_purity.kept else None,
    }


def _fraction(*parts: str) -> float:
    return int(derive_key(*parts)[:8], 16) / 16**8


def compared(workspaces: Mapping[int, Path]) -> list[Row]:
    """Every case on the workspace of every seed."""
    rows: list[Row] = []
    for seed, folder in workspaces.items():
        workspace = Workspace.existing(folder)
        labelled = {purpose: read_labelled(workspace, purpose) for purpose in _PURPOSES}
        rows += [measured_case(case, labelled, seed) for case in CASES]
    return rows


@contextmanager
def growth_workspaces(folder: Path | None) -> Iterator[dict[int, Path]]:
    """The workspaces of ``discriminator`` in a folder of `benchmarks/growth.py`, by seed.

    Without a folder one small cycle is run first.
    """
    if folder is not None:
        yield {int(each.name.split("-")[0]): each for each in sorted(folder.glob("*-discriminator"))}
        return
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "small"
        run_cycle(small, 1, 0, "discriminator", "small")
        yield {0: small}


def mean_of(rows: Sequence[Row], case: str, figure: str) -> float | None:
    """The mean of a figure over the seeds. None where a seed has none."""
    values = [row[figure] for row in rows if row["case"] == case]
    return None if None in values else statistics.mean(values)


@ends_in_time
def main() -> None:
    """Measure all cases, and print a table, or one object with ``--json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="That of benchmarks.growth, which it only reads.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with growth_workspaces(given.folder) as workspaces:
        rows = compared(workspaces)
    figures = [name for name in rows[0] if name not in ("case", "seed")]
    means = {case.name: {name: mean_of(rows, case.name, name) for name in figures} for case in CASES}
    whole, third = (means[name]["auc"] for name in ("all answers", "a third, known truth"))
    ratio = third / whole if third is not None and whole else None
    if given.json:
        print(json.dumps({"ratio": ratio, "means": means, "rows": rows, "machine": machine()}, indent=1))
        return
    for name, of in means.items():
        cells = " ".join(f"{key} {value:.3f}" for key, value in of.items() if value is not None)
        print(f"{name}: {cells}")
    print(f"AUC with a third of the answers and known truth / with all answers: {ratio:.3f}; {machine()}")


if __name__ == "__main__":
    main()
