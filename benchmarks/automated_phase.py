"""Find the sizes at which an automated phase pays: what it keeps against nothing new, at equal steps.

RORem's automated phases are three to ten times as large as its human ones. This experiment has that
relation, and everything in memory. It trains a remover on captured pairs and on pasted ones without shadows.
People, who err in 2 % of the cases, then accept candidates of some items, and the remover is trained on. Then
it edits ten times as many items, and five ways choose what joins:

- ``score``: the best candidate of an item, where its score is above 0.9 (RORem).
- ``purity``: as many best candidates as together are 90 % pure, with 90 % confidence.
- ``oracle``: every item with a good candidate. This is the most that any judge can bring.
- ``all``: one candidate of every item.
- ``nothing``: nothing new.

All five train from the same remover, with equal steps, on the pairs, people's YES and what joined. They are
measured on the same unseen scenes with the same noise. The discriminator is the voters alone: they learn from
people's answers and from known truth, and are calibrated on further answers. Leads are paired by scene.

``ratio`` is the mean lead of ``purity`` over ``nothing``, divided by the oracle's. Above 0 the phase pays,
and 1 is the oracle's level.

The default takes minutes and shows that the comparison runs. `--full` has the sizes of
docs/experiments/growth.md.

Run: python -m benchmarks.automated_phase --full --seeds 0 1 2 [--json]
"""

import argparse
import copy
import itertools
import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmarks._machine import machine
from benchmarks._paired import paired
from benchmarks._processes import ends_in_time
from data_specs.assessment import QualityConfig
from data_specs.candidate import Candidate
from data_specs.keys import derive_key
from data_specs.triplet import Triplet
from models.diffusion.inpainting import InpaintingNetwork
from models.profiles import PROFILES
from models.rorem.calibration import area_under_curve, fit_platt, pure_threshold
from models.rorem.discriminator import statistics_of
from models.rorem.discriminator_heads import fit_voters
from models.rorem.remover import InpaintingRemover
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from tasks.evaluation.success import assess
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.rorem.grow import accepted_by_review, accepted_by_score, first_candidates, grown_key
from tasks.rorem.propose import as_unlabelled, propose_candidates
from tasks.rorem.questions import best_of_items, calibrating_candidates, one_of_items
from tasks.rorem.train_discriminator import score_arguments
from tasks.sources.synthetic.samples import SyntheticConfig, as_triplet, make_sample
from tasks.training.data import batches_of, collate_triplets, mirrored

Row = dict[str, Any]
ARMS = ("score", "purity", "oracle", "all", "nothing")
_VARIANTS = ("tight", "dilated", "left", "right")
_WRONG = 0.02
"""Fraction of people's answers that are wrong."""
_VOTERS = 4
_AT_ONCE = 64
"""Items whose candidates are made together."""
_TINY = PROFILES["tiny"]


class Sizes(NamedTuple):
    """How much of everything."""

    captured: int
    """Pairs with shadows."""
    pasted: int
    """Pairs without."""
    human: int
    """Items that people review, four candidates each."""
    calibration: int
    """Items of which people review one candidate."""
    automated: int
    test: int
    steps: int
    """Of the last training."""
    known: int
    """Pairs, captured ones first, whose candidates teach the discriminator by known truth."""

    @property
    def answers(self) -> int:
        """What people answer."""
        return self.human * len(_VARIANTS) + self.calibration


SMALL = Sizes(captured=20, pasted=60, human=30, calibration=40, automated=60, test=60, steps=20, known=80)
FULL = Sizes(
    captured=60, pasted=340, human=100, calibration=600, automated=1000, test=500, steps=400, known=200
)


class Pairs(Dataset[Triplet]):
    """Triplets in memory, map-style. A draw may flip them."""

    def __init__(self, triplets: Sequence[Triplet]) -> None:
        self._triplets = triplets

    def __len__(self) -> int:
        return len(self._triplets)

    def __getitem__(self, draw: tuple[int, bool]) -> Triplet:
        position, flip = draw
        triplet = self._triplets[position]
        return mirrored(triplet, "source", "mask", "ground_truth") if flip else triplet


@dataclass(frozen=True, slots=True)
class Proposed:
    """Candidates of some items, and which are good by the known truth."""

    candidates: dict[str, Candidate]
    good: dict[str, bool]

    @property
    def items(self) -> dict[str, list[str]]:
        """Candidate keys by item."""
        items: dict[str, list[str]] = {}
        for key, candidate in self.candidates.items():
            items.setdefault(candidate.item, []).append(key)
        return items

    @property
    def answers(self) -> dict[str, bool]:
        """What people say, who err."""
        return {
            key: good ^ (int(derive_key("slip", key)[:8], 16) / 16**8 < _WRONG)
            for key, good in self.good.items()
        }

    def statistics(self) -> torch.Tensor:
        """Candidates × statistics."""
        shown = list(self.candidates.values())
        return statistics_of(*score_arguments(shown), device=torch.device("cpu"))


def scenes(seed: int, use: str, count: int, *, pasted: bool = False) -> list[Triplet]:
    """Synthetic triplets of a use. Two uses never share a scene."""
    number = int(derive_key("automated phase", seed, use)[:8], 16)
    config = SyntheticConfig(seed=number, copy_paste=pasted)
    return [as_triplet(make_sample(config, index), "train") for index in range(count)]


def proposed(remover: InpaintingRemover, truths: Sequence[Triplet]) -> Proposed:
    """Four candidates of every item, labelled by the truth."""
    candidates: dict[str, Candidate] = {}
    good: dict[str, bool] = {}
    for start in range(0, len(truths), _AT_ONCE):
        part = {truth.key: truth for truth in truths[start : start + _AT_ONCE]}
        for one in propose_candidates([as_unlabelled(truth) for truth in part.values()], remover, _VARIANTS):
            candidates[one.key] = one
            good[one.key] = _success(one.removal, part[one.item])
    return Proposed(candidates, good)


def grown_triplet(candidate: Candidate) -> Triplet:
    """What a candidate becomes when it joins."""
    return Triplet(
        key=grown_key(candidate.key),
        scene=candidate.scene,
        split=candidate.split,
        origin=f"candidate:{candidate.key}",
        source=candidate.source,
        mask=candidate.mask,
        ground_truth=candidate.removal,
    )


def _success(removal: Any, truth: Triplet) -> bool:
    return assess(removal, truth.source, truth.mask, truth.ground_truth, QualityConfig()).success


def trained(
    network: InpaintingNetwork,
    groups: Sequence[Sequence[Triplet]],
    config: TrainingConfig,
    loss: RemoverLossConfig,
) -> InpaintingNetwork:
    """A copy of the network, trained. Every batch shares evenly among the groups."""
    network = copy.deepcopy(network)
    starts = np.cumsum([0, *map(len, groups)]).tolist()
    ranges = [range(start, stop) for start, stop in itertools.pairwise(starts)]

    def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return remover_loss(network, batch, loss, batch_slice)

    drawn = Pairs([triplet for group in groups for triplet in group])
    batches = batches_of(drawn, ranges, config.batch_size, config.seed, 0, collate_triplets)
    train(network.unet, loss_of, batches, config)
    return network


def retrained(
    network: InpaintingNetwork, groups: Sequence[Sequence[Triplet]], seed: int, steps: int
) -> InpaintingNetwork:
    """The network, trained as after a phase."""
    config = _TINY.retraining.model_copy(update={"seed": seed, "steps": steps})
    return trained(network, groups, config, _TINY.retraining_loss)


def successes(network: InpaintingNetwork, test: Sequence[Triplet]) -> list[bool]:
    """Whether the network's remover succeeds on each scene."""
    seeds = [int(derive_key("growth", truth.key)[:12], 16) for truth in test]
    removals = InpaintingRemover(network, _TINY.sampling).remove(
        [truth.source for truth in test], [truth.mask for truth in test], seeds
    )
    return [_success(one, truth) for one, truth in zip(removals, test, strict=True)]


class Judged(NamedTuple):
    """The new candidates' scores, and the score above which the best ones are certified to be pure."""

    scores: dict[str, float]
    pure_above: float | None


def judged(human: Proposed, pairs: Proposed, calibration: Proposed, new: Proposed, seed: int) -> Judged:
    """Scores by voters that people and known truth taught, calibrated on further answers."""
    numbers = [of.statistics() for of in (human, pairs) if of.candidates]
    labels = [*human.answers.values(), *pairs.good.values()]
    voters = fit_voters(torch.cat(numbers), labels, _VOTERS, seed)

    def logits(of: Proposed) -> dict[str, float]:
        return dict(zip(of.candidates, voters(of.statistics()).mean(1).tolist(), strict=True))

    own, answers = logits(calibration), calibration.answers
    asked = calibrating_candidates(calibration.items, own, seed)
    slope, offset = fit_platt([own[key] for key in asked], [answers[key] for key in asked], _WRONG)
    shown = [key for key in best_of_items(calibration.items, own) if key in set(asked)]
    scores = [1 / (1 + math.exp(-(slope * own[key] + offset))) for key in shown]
    return Judged(
        {key: 1 / (1 + math.exp(-(slope * logit + offset))) for key, logit in logits(new).items()},
        pure_threshold(scores, [answers[key] for key in shown], 0.9, 0.9, _WRONG),
    )


def kept_by(new: Proposed, by: Judged) -> dict[str, list[str]]:
    """The candidates that join, by arm."""
    good = {key for key, fine in new.good.items() if fine}
    pure = [] if by.pure_above is None else accepted_by_score(new.items, by.scores, by.pure_above)
    return {
        "score": accepted_by_score(new.items, by.scores, 0.9),
        "purity": pure,
        "oracle": accepted_by_review(new.items, good),
        "all": first_candidates(new.items),
        "nothing": [],
    }


@dataclass(frozen=True, slots=True)
class Begun:
    """What stands before the automated phase."""

    pairs: list[Triplet]
    accepted: list[Triplet]
    """What people accepted."""
    human: Proposed
    initial: InpaintingNetwork
    network: InpaintingNetwork
    """Retrained on the pairs and on what people accepted."""


def begun(seed: int, sizes: Sizes) -> Begun:
    """The initial remover and the human phase."""
    captured = scenes(seed, "captured", sizes.captured)
    pasted = scenes(seed, "pasted", sizes.pasted, pasted=True)
    first = _TINY.remover.model_copy(update={"seed": seed})
    initial = trained(network_at(BASE_FOLDER), [captured, pasted], first, _TINY.remover_loss)
    human = proposed(InpaintingRemover(initial, _TINY.sampling), scenes(seed, "human", sizes.human))
    yes = {key for key, said in human.answers.items() if said}
    accepted = [grown_triplet(human.candidates[key]) for key in accepted_by_review(human.items, yes)]
    pairs = [*captured, *pasted]
    network = retrained(initial, [pairs, accepted], seed + 1, _TINY.retraining.steps)
    return Begun(pairs, accepted, human, initial, network)


def run_seed(seed: int, sizes: Sizes, arms: Sequence[str] = ARMS) -> Row:
    """The figures of one seed."""
    test, start = scenes(seed, "test", sizes.test), begun(seed, sizes)
    remover = InpaintingRemover(start.network, _TINY.sampling)
    pairs = proposed(remover, start.pairs[: sizes.known])
    calibration = proposed(remover, scenes(seed, "calibration", sizes.calibration))
    new = proposed(remover, scenes(seed, "automated", sizes.automated))
    by = judged(start.human, pairs, calibration, new, seed)
    drawn = one_of_items(new.items, seed)
    row: Row = {
        "seed": seed,
        "initial": statistics.mean(successes(start.initial, test)),
        "human": statistics.mean(successes(start.network, test)),
        "answers": sizes.answers,
        "accepted": len(start.accepted),
        "auc": area_under_curve([by.scores[key] for key in drawn], [new.good[key] for key in drawn]),
        "arms": {},
    }
    kept = kept_by(new, by)
    for arm in arms:
        keys = kept[arm]
        grown = [grown_triplet(new.candidates[key]) for key in keys]
        last = retrained(start.network, [start.pairs, [*start.accepted, *grown]], seed + 2, sizes.steps)
        good = successes(last, test)
        pure = statistics.mean([new.good[key] for key in keys]) if keys else None
        row["arms"][arm] = {"kept": len(keys), "pure": pure, "success": statistics.mean(good), "scenes": good}
        print(f"seed {seed}, {arm}: kept {len(keys)}, success {statistics.mean(good):.3f}", file=sys.stderr)
    return row


def lead(rows: Sequence[Row], arm: str, control: str) -> Row:
    """How far an arm leads a control."""
    ours, others = ([row["arms"][name]["scenes"] for row in rows] for name in (arm, control))
    return {"arm": arm, "control": control, **paired(ours, others)}


def reviews_saved(seeds: Sequence[int], sizes: Sizes) -> Row:
    """A third of the answers and known truth, against all answers without: the last removers, by ``score``.

    Items that people do not review go to the automated phase.
    """
    third = sizes._replace(calibration=sizes.calibration // 3, automated=sizes.automated + 2 * sizes.human)
    whole = sizes._replace(human=3 * sizes.human, known=0)
    rows = {
        name: [run_seed(seed, of, ["score"]) for seed in seeds]
        for name, of in (("third", third), ("whole", whole))
    }
    scenes = {name: [row["arms"]["score"]["scenes"] for row in of] for name, of in rows.items()}
    success = {name: statistics.mean(itertools.chain(*of)) for name, of in scenes.items()}
    return {
        "ratio": success["third"] / success["whole"],
        "success": success,
        **paired(scenes["third"], scenes["whole"]),
        "rows": rows,
    }


def compared(seeds: Sequence[int], sizes: Sizes) -> Row:
    """All arms of all seeds."""
    rows = [run_seed(seed, sizes) for seed in seeds]
    leads = [lead(rows, arm, "nothing") for arm in ARMS if arm != "nothing"]
    leads += [lead(rows, arm, "all") for arm in ARMS if arm not in ("nothing", "all")]
    pays, ceiling = (lead(rows, arm, "nothing")["lead"] for arm in ("purity", "oracle"))
    return {"ratio": pays / ceiling if ceiling else None, "leads": leads, "rows": {"": rows}}


def show(figures: Row) -> None:
    """Print a line for each training and for each lead."""
    for name, rows in figures["rows"].items():
        for row in rows:
            rates = f"initial {row['initial']:.3f}, human {row['human']:.3f}, AUC {row['auc']:.3f}"
            print(f"{name} seed {row['seed']}: {row['answers']} answers, {rates}")
            for arm, of in row["arms"].items():
                print(f"  {arm:<8} kept {of['kept']}, pure {of['pure']}, success {of['success']:.3f}")
    for one in figures.get("leads", [figures | {"arm": "a third", "control": "all answers"}]):
        points = f"{100 * one['lead']:+.1f} ± {100 * one['error']:.1f} points"
        print(f"{one['arm']} against {one['control']}: {points}, {one['won']} won, {one['lost']} lost")
    print(f"ratio {figures['ratio']}; {machine()}")


@ends_in_time
def main() -> None:
    """Run the seeds, and print a table, or one object with ``--json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--full", action="store_true", help="Takes about 11 minutes of one core a seed.")
    parser.add_argument(
        "--reviews-saved",
        action="store_true",
        help="Compare a third of the answers and known truth with all answers; ratio is of the success.",
    )
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sizes = FULL if asked.full else SMALL
    figures = reviews_saved(asked.seeds, sizes) if asked.reviews_saved else compared(asked.seeds, sizes)
    if asked.json:
        print(json.dumps(figures | {"sizes": sizes._asdict(), "machine": machine()}, indent=1))
    else:
        show(figures)


if __name__ == "__main__":
    main()
