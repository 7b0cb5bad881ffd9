"""Find the sizes at which an automated phase pays: what it keeps against nothing new, at equal steps.

RORem's automated phases are three to ten times as large as its human ones. This experiment has that relation,
and everything in memory. It trains a remover on pasted pairs without shadows. People, who err in 2 % of the
cases, then accept candidates of some items, and the remover is trained on. Then it edits many more items, and
four ways choose what joins:

- ``discriminator``: the best candidate of an item, where its score is above 0.9.
- ``oracle``: every item with a good candidate. This is the most that any judge can bring.
- ``all``: one candidate of every item.
- ``nothing``: nothing new.

All four train from the same remover, with equal steps, on the pairs, people's YES and what joined. They are
measured on the same unseen scenes with the same noise, at several numbers of steps. The discriminator is the
voters alone: they learn from people's answers and from known truth, and are calibrated on further answers.

``ratio`` is the lead of ``discriminator`` over ``nothing`` at the last number of steps, divided by the
oracle's lead. Above 0 the phase pays, and 1 is the oracle's level.

The default takes minutes and shows that the comparison runs. `--full` has the sizes of
docs/experiments/growth.md.

Run: python -m benchmarks.automated_phase --full --seeds 0 1 2 [--json]
"""

import copy
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from data_specs.assessment import QualityConfig
from data_specs.candidate import Candidate
from data_specs.keys import derive_key
from data_specs.triplet import Triplet
from models.diffusion.inpainting import InpaintingNetwork
from models.profiles import PROFILES
from models.rorem.calibration import area_under_curve, fit_platt
from models.rorem.discriminator import statistics_of
from models.rorem.discriminator_heads import fit_voters
from models.rorem.remover import InpaintingRemover
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train
from models.training.losses.remover import TripletBatch, remover_loss
from tasks.evaluation.success import assess
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.rorem.grow import accepted_by_review, accepted_by_score, first_candidates, grown_triplet
from tasks.rorem.propose import propose_candidates
from tasks.rorem.questions import calibrating_candidates, one_of_items
from tasks.rorem.train_discriminator import score_arguments
from tasks.sources.synthetic.samples import SyntheticConfig, as_triplet, make_sample
from tasks.training.data import batches_of, collate_triplets

Row = dict[str, Any]
ARMS = ("discriminator", "oracle", "all", "nothing")
_VARIANTS = ("tight", "dilated", "left", "right")
_WRONG = 0.02
"""Fraction of people's answers that are wrong."""
_VOTERS = 4
_AT_ONCE = 64
"""Items whose candidates are made together."""
_TINY = PROFILES["tiny"]


class Sizes(NamedTuple):
    """How much of everything."""

    pairs: int
    human: int
    """Items that people review, four candidates each."""
    calibration: int
    automated: int
    test: int
    steps: tuple[int, ...]
    """Steps after which the four removers are measured."""


SMALL = Sizes(pairs=60, human=30, calibration=40, automated=60, test=60, steps=(20,))
FULL = Sizes(pairs=400, human=150, calibration=400, automated=1200, test=500, steps=(140, 400, 1000))


class Pairs(Dataset[Triplet]):
    """Triplets in memory, map-style. A draw may flip them."""

    def __init__(self, triplets: Sequence[Triplet]) -> None:
        self._triplets = triplets

    def __len__(self) -> int:
        return len(self._triplets)

    def __getitem__(self, draw: tuple[int, bool]) -> Triplet:
        position, flip = draw
        triplet = self._triplets[position]
        if not flip:
            return triplet
        mirrored = {
            name: np.ascontiguousarray(getattr(triplet, name)[:, ::-1])
            for name in ("source", "mask", "ground_truth")
        }
        return replace(triplet, **mirrored)


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
        for one in propose_candidates([_item(truth) for truth in part.values()], remover, _VARIANTS):
            candidates[one.key] = one
            good[one.key] = _success(one.removal, part[one.item])
    return Proposed(candidates, good)


def _item(truth: Triplet) -> Any:
    from data_specs.pool_item import PoolItem

    return PoolItem(
        key=truth.key,
        scene=truth.scene,
        split=truth.split,
        origin=truth.origin,
        class_name="",
        source=truth.source,
        mask=truth.mask,
    )


def _success(removal: Any, truth: Triplet) -> bool:
    return assess(removal, truth.source, truth.mask, truth.ground_truth, QualityConfig()).success


def trained(
    network: InpaintingNetwork, groups: Sequence[Sequence[Triplet]], config: TrainingConfig, loss: Any
) -> InpaintingNetwork:
    """A copy of the network, trained. Every batch shares evenly among the groups."""
    network, groups = copy.deepcopy(network), [group for group in groups if group]
    starts = np.cumsum([0, *map(len, groups)])
    ranges = [range(start, stop) for start, stop in zip(starts[:-1], starts[1:], strict=True)]

    def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return remover_loss(network, batch, loss, batch_slice)

    drawn = Pairs([triplet for group in groups for triplet in group])
    batches = batches_of(drawn, ranges, config.batch_size, config.seed, 0, collate_triplets)
    train(network.unet, loss_of, batches, config)
    return network


def successes(network: InpaintingNetwork, test: Sequence[Triplet]) -> np.ndarray:
    """Whether the network's remover succeeds on each scene."""
    seeds = [int(derive_key("growth", truth.key)[:12], 16) for truth in test]
    removals = InpaintingRemover(network, _TINY.sampling).remove(
        [truth.source for truth in test], [truth.mask for truth in test], seeds
    )
    return np.array([_success(one, truth) for one, truth in zip(removals, test, strict=True)])


def scores_of(human: Proposed, known: Proposed, calibration: Proposed, new: Proposed, seed: int) -> Any:
    """The voters' calibrated scores of the new candidates."""
    numbers = torch.cat([human.statistics(), known.statistics()])
    voters = fit_voters(numbers, [*human.answers.values(), *known.good.values()], _VOTERS, seed)

    def logits(of: Proposed) -> dict[str, float]:
        return dict(zip(of.candidates, voters(of.statistics()).mean(1).tolist(), strict=True))

    own, answers = logits(calibration), calibration.answers
    asked = calibrating_candidates(calibration.items, own, seed)
    slope, offset = fit_platt([own[key] for key in asked], [answers[key] for key in asked], _WRONG)
    return {key: 1 / (1 + math.exp(-(slope * logit + offset))) for key, logit in logits(new).items()}


def kept_by(new: Proposed, scores: Mapping[str, float]) -> dict[str, list[str]]:
    """The candidates that join, by arm."""
    good = {key for key, fine in new.good.items() if fine}
    return {
        "discriminator": accepted_by_score(new.items, scores, 0.9),
        "oracle": accepted_by_review(new.items, good),
        "all": first_candidates(new.items),
        "nothing": [],
    }


def run_seed(seed: int, sizes: Sizes, say: Callable[[str], None]) -> list[Row]:
    """The rows of one seed: an arm at a number of steps each."""
    sampling, first, again = _TINY.sampling, _TINY.remover, _TINY.retraining
    pairs, test = scenes(seed, "pairs", sizes.pairs, pasted=True), scenes(seed, "test", sizes.test)
    initial = trained(
        network_at(BASE_FOLDER), [pairs], first.model_copy(update={"seed": seed}), _TINY.remover_loss
    )
    say("initial remover")
    human = proposed(InpaintingRemover(initial, sampling), scenes(seed, "human", sizes.human))
    said = {key for key, yes in human.answers.items() if yes}
    accepted = [grown_triplet(human.candidates[key]) for key in accepted_by_review(human.items, said)]
    start = trained(
        initial, [pairs, accepted], again.model_copy(update={"seed": seed + 1}), _TINY.retraining_loss
    )
    say(f"people accept {len(accepted)} of {sizes.human}")
    remover = InpaintingRemover(start, sampling)
    known = proposed(remover, pairs)
    calibration = proposed(remover, scenes(seed, "calibration", sizes.calibration))
    new = proposed(remover, scenes(seed, "automated", sizes.automated))
    say("proposed")
    scores = scores_of(human, known, calibration, new, seed)
    one = one_of_items(new.items, seed)
    about = {
        "initial": float(successes(initial, test).mean()),
        "start": float(successes(start, test).mean()),
        "accepted": len(accepted),
        "auc": area_under_curve([scores[key] for key in one], [new.good[key] for key in one]),
    }
    rows: list[Row] = []
    for arm, keys in kept_by(new, scores).items():
        grown = [grown_triplet(new.candidates[key]) for key in keys]
        pure = statistics.mean([new.good[key] for key in keys]) if keys else None
        for steps in sizes.steps:
            config = again.model_copy(update={"seed": seed + 2, "steps": steps})
            last = trained(start, [pairs, [*accepted, *grown]], config, _TINY.retraining_loss)
            good = successes(last, test)
            say(f"{arm}, {steps} steps: {good.mean():.3f}, kept {len(keys)}, pure {pure}")
            rows.append(
                {
                    "seed": seed,
                    "arm": arm,
                    "steps": steps,
                    "kept": len(keys),
                    "pure": pure,
                    **about,
                    "good": good.tolist(),
                }
            )
    return rows
