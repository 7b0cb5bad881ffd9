"""Measure whether choosing the items to ask about teaches a discriminator more than asking about random ones.

It reads the workspaces of `benchmarks/growth.py --folder`, and fits the voters alone, as
`benchmarks/discriminator_labels.py` does. The pool is what the automated phase proposed: all its candidates
are by one remover, and their truth is known. A third of the items tests, a sixth calibrates, always the same
random ones for all ways. A sixteenth, at random, teaches a first discriminator. It scores the rest, and
a sixteenth or an eighth more is asked about, all candidates of each item. The oracle errs in 2 % of the
answers.

``ratio`` is the AUC with chosen items, divided by that with random ones, at an eighth. Every figure is the
mean over the repetitions; differences from random are paired, with their standard errors.

Without ``--folder`` one small cycle is run first. Its pool is so small that its figures show nothing.

Run: python -m benchmarks.review_choice --folder GROWTH_FOLDER --json
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from benchmarks.discriminator_labels import Labelled, growth_workspaces, read_labelled
from data_specs.keys import derive_key
from models.rorem.calibration import area_under_curve, fit_platt
from models.rorem.discriminator_heads import Voters, fit_voters
from tasks.rorem.questions import best_of_items, calibrating_candidates
from tasks.rorem.review_choice import choose_for_review
from tasks.storage.workspace import Workspace

Row = dict[str, Any]
_WRONG = 0.02
_VOTERS = 4
_TESTED, _CALIBRATED, _FIRST = 1 / 3, 1 / 6, 1 / 16
"""Fractions of the items."""
_MORE = (1 / 16, 1 / 8)
_FIGURES = ("auc", "recall_if_pure", "recall", "kept_good", "with_yes")


@dataclass(frozen=True, slots=True)
class Way:
    """How items are chosen."""

    name: str
    random_fraction: float = 1 / 3
    considered: float = 2
    """How many times as many items are considered as are asked about."""
    by_uncertainty: bool = True
    by_distance: bool = True


WAYS = [
    Way("random", random_fraction=1),
    Way("half of twice as many"),
    Way("of the whole pool", considered=np.inf),
    Way("no random part", random_fraction=0, considered=np.inf),
    Way("uncertainty alone", considered=np.inf, by_distance=False),
    Way("distance alone", considered=np.inf, by_uncertainty=False),
]


@dataclass(frozen=True, slots=True)
class Pool:
    """All candidates, what is said about them, and a vector of each item."""

    labelled: Labelled
    answers: Mapping[str, bool]
    vectors: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, labelled: Labelled) -> Self:
        """The pool with the oracle's answers."""
        every = torch.stack(list(labelled.numbers.values()))
        centre, scale = every.mean(0), every.std(0) + 1e-3
        vectors = {
            item: ((torch.stack([labelled.numbers[key] for key in keys]).mean(0) - centre) / scale).numpy()
            for item, keys in labelled.items.items()
        }
        return cls(labelled, labelled.answers("residual", _WRONG), vectors)

    def fitted(self, items: Sequence[str], seed: int) -> Voters | None:
        """Voters that learnt all answers about some items. None where all are YES, or all NO."""
        keys = [key for item in items for key in self.labelled.items[item]]
        good = [self.answers[key] for key in keys]
        if len(set(good)) == 1:
            return None
        return fit_voters(torch.stack([self.labelled.numbers[key] for key in keys]), good, _VOTERS, seed)

    def logits(self, voters: Voters, items: Sequence[str]) -> dict[str, float]:
        """Of all candidates of some items."""
        keys = [key for item in items for key in self.labelled.items[item]]
        numbers = torch.stack([self.labelled.numbers[key] for key in keys])
        return dict(zip(keys, voters(numbers).mean(1).tolist(), strict=True))

    def scores(
        self, voters: Voters, calibrating: Sequence[str], items: Sequence[str], seed: int
    ) -> dict[str, float]:
        """P(good) of all candidates of some items."""
        logits = self.logits(voters, calibrating)
        of_items = {item: self.labelled.items[item] for item in calibrating}
        asked = calibrating_candidates(of_items, logits, seed)
        slope, offset = fit_platt(
            [logits[key] for key in asked], [self.answers[key] for key in asked], _WRONG
        )
        return {
            key: 1 / (1 + float(np.exp(-(slope * logit + offset))))
            for key, logit in self.logits(voters, items).items()
        }


def repetition(pool: Pool, seed: int, number: int) -> list[Row]:
    """Every way on one random division of the items."""
    order = sorted(pool.vectors, key=lambda item: derive_key("division", seed, number, item))
    ends = np.cumsum([round(part * len(order)) for part in (_TESTED, _CALIBRATED, _FIRST)])
    tested, calibrating, first, rest = (part.tolist() for part in np.split(np.array(order), ends))
    voters = pool.fitted(first, number)
    if voters is None:
        return []
    scores = pool.scores(voters, calibrating, rest, number)
    rows: list[Row] = []
    for more in _MORE:
        for way in WAYS:
            items = _chosen(pool, way, rest, scores, round(more * len(order)), number)
            taught = pool.fitted([*first, *items], number)
            assert taught is not None, "the first ones were of both kinds"
            figures = _measured(pool, pool.scores(taught, calibrating, tested, number), tested)
            yes = statistics.mean(any(pool.answers[key] for key in pool.labelled.items[i]) for i in items)
            facts = {"seed": seed, "repetition": number, "way": way.name, "more": more, "asked": len(items)}
            rows.append({**facts, **figures, "with_yes": yes})
    return rows


def _chosen(
    pool: Pool, way: Way, rest: Sequence[str], scores: Mapping[str, float], count: int, seed: int
) -> Sequence[str]:
    order = sorted(rest, key=lambda item: derive_key("considered", seed, item))
    considered = order[: int(min(len(order), way.considered * count))]
    same = np.eye(len(considered))  # all equally far from each other
    return choose_for_review(
        {
            item: pool.vectors[item] if way.by_distance else same[place]
            for place, item in enumerate(considered)
        },
        {
            item: [scores[key] if way.by_uncertainty else 0.5 for key in pool.labelled.items[item]]
            for item in considered
        },
        count,
        way.random_fraction,
        seed,
    ).items


def _measured(pool: Pool, scores: Mapping[str, float], tested: Sequence[str]) -> Row:
    """Figures on all candidates of the test's items, and on the best of each."""
    good = pool.labelled.good["residual"]
    values, truth = np.array(list(scores.values())), np.array([good[key] for key in scores])
    best = best_of_items({item: pool.labelled.items[item] for item in tested}, scores)
    hits = np.cumsum(truth[np.argsort(-values)])
    is_pure = hits / np.arange(1, len(hits) + 1) >= 0.9
    return {
        "auc": area_under_curve(values.tolist(), truth.tolist()),
        # By the order alone: calibration does not count.
        "recall_if_pure": float(hits[is_pure].max() / max(1, truth.sum())) if is_pure.any() else 0.0,
        "recall": float(((values > 0.9) & truth).sum() / max(1, truth.sum())),
        "kept_good": statistics.mean(scores[key] > 0.9 and good[key] for key in best),
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """Means of each way, and differences from random with standard errors."""
    lines: list[Row] = []
    for more in _MORE:
        random = {_place(row): row for row in rows if row["more"] == more and row["way"] == "random"}
        for way in WAYS:
            mine = [row for row in rows if row["more"] == more and row["way"] == way.name]
            line: Row = {"way": way.name, "more": more, "repetitions": len(mine)}
            for figure in _FIGURES:
                line[figure] = statistics.mean(row[figure] for row in mine)
                gains = [row[figure] - random[_place(row)][figure] for row in mine]
                error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None
                line[f"{figure}_gain"], line[f"{figure}_error"] = statistics.mean(gains), error
            lines.append(line)
    return lines


def _place(row: Row) -> tuple[int, int]:
    return row["seed"], row["repetition"]


def compared(workspaces: Mapping[int, Path], repetitions: int) -> list[Row]:
    """Every way on the workspace of every seed."""
    rows: list[Row] = []
    for seed, folder in workspaces.items():
        pool = Pool.of(read_labelled(Workspace.existing(folder), "automation"))
        for number in range(repetitions):
            rows += repetition(pool, seed, number)
    return rows


@ends_in_time
def main() -> None:
    """Measure all ways, and print a table, or one object with ``--json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="That of benchmarks.growth, which it only reads.")
    parser.add_argument("--repetitions", type=int, default=10, help="Random divisions of each pool.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with growth_workspaces(given.folder) as workspaces:
        rows = compared(workspaces, given.repetitions)
    lines = summary(rows)
    chosen, random = (
        next(line["auc"] for line in reversed(lines) if line["way"] == way.name) for way in (WAYS[1], WAYS[0])
    )
    if given.json:
        print(json.dumps({"ratio": chosen / random, "ways": lines, "machine": machine()}, indent=1))
        return
    for line in lines:
        cells = " ".join(f"{name} {line[name]:.3f} ({line[f'{name}_gain']:+.3f})" for name in _FIGURES)
        print(f"{line['more']:.3f} {line['way']}: {cells}")
    print(f"AUC with chosen items / with random ones: {chosen / random:.3f}; {machine()}")


if __name__ == "__main__":
    main()
