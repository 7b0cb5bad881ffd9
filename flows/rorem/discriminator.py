"""A round's judge: trained on all reviews so far, calibrated and measured on items it has not seen."""

from functools import partial

from pydantic import BaseModel, ConfigDict

from data_specs.shard import ShardRef
from flows.report.artifacts import publish_judge
from flows.rorem.config import RoundSettings
from flows.rorem.human_review import Asked, ReviewPhase, review
from flows.rorem.phases import propose_in_turn, seeded
from flows.rorem.standing import Standing, as_remover
from flows.runtime.progress import say
from tasks.rorem.sample_pool import choose_items, fresh_items, items_of
from tasks.rorem.score import JudgeMeasure, good_by_truth, lacking_truth, measure_judge
from tasks.rorem.train_discriminator import JudgeTraining, TrainedJudge, train_discriminator
from tasks.storage.workspace import Workspace


class JudgeOutcome(BaseModel):
    """The round's judge: where it lies, and how far it can be trusted."""

    model_config = ConfigDict(frozen=True)

    trained: TrainedJudge
    measured: JudgeMeasure | None
    """None where the fresh items' truth is unknown and people answered no fresh candidate."""


def judge_phase(
    config: RoundSettings, workspace: Workspace, run: str, round: int, standing: Standing
) -> JudgeOutcome | None:
    """Train the discriminator on all reviews so far, calibrate it, and measure it on fresh items.

    The reviews that calibrate are of what the remover makes now, which is what the judge will judge.
    Fresh candidates whose item's truth nobody knows are shown to people too, in the same batch, and their
    answers, which train nothing, are what it is measured against.

    Returns:
        None if the review that calibrates was abandoned.
    """
    name = f"judge {round}"
    known = workspace.ledger().phase(run, name)
    if known is not None:
        return JudgeOutcome.model_validate(known)
    held_out = choose_items(workspace, f"{run} calibration {round}", config.calibration_items, config.seed)
    propose = partial(propose_in_turn, config, workspace, round, "calibration", remover=standing.remover)
    unseen = fresh_items(workspace, run, round, config.judge_test_items, config.seed)
    fresh = propose_in_turn(config, workspace, round, "fresh", unseen, standing.remover)
    truth = workspace.ledger().shards(stage="truth")
    beside = lacking_truth(workspace, fresh, truth)
    phase = ReviewPhase("calibration", round)
    asked = review(config, workspace, run, phase, Asked(held_out, propose(items=held_out)), propose, beside)
    if asked.abandoned:
        return None
    base = workspace.ledger().model(workspace.ledger().promotions("remover")[0].hash)
    work = JudgeTraining(
        name=name,
        backbone=as_remover(base, config.sampling),
        candidates=tuple(reviewed_shards(workspace, round)),
        judge=config.judge,
        training=seeded(config.judge_training, config.seed, name),
        held_out_items=tuple(asked.items),
    )
    trained = train_discriminator(workspace, work)
    good = _good_by_people(workspace, beside) | good_by_truth(workspace, fresh, truth, config.reviewer)
    outcome = JudgeOutcome(
        trained=trained, measured=_measured(config, workspace, round, trained, fresh, good)
    )
    workspace.ledger().record_phase(run, name, outcome.model_dump(mode="json"))
    return outcome


def _measured(
    config: RoundSettings,
    workspace: Workspace,
    round: int,
    trained: TrainedJudge,
    fresh: list[ShardRef],
    good: dict[str, bool],
) -> JudgeMeasure | None:
    if not good:
        say(f"judge {round} is not measured: nobody answered a fresh candidate, and no truth is known")
        return None
    measured = measure_judge(
        workspace, tuple(fresh), good, trained.judge, config.keep_above, round, trained.reviewed
    )
    publish_judge(measured.result, measured.curves)
    return measured


def _good_by_people(workspace: Workspace, fresh: list[ShardRef]) -> dict[str, bool]:
    """What people decided on the fresh candidates; skips are left out."""
    decisions = workspace.ledger().decisions(items_of(workspace, fresh))
    return {key: each == "yes" for key, each in decisions.items() if each != "skip"}


def reviewed_shards(workspace: Workspace, round: int | None = None) -> list[ShardRef]:
    """Candidate shards with a training sample about which something is decided; fresh items' train nothing.

    Args:
        workspace: Where.
        round: The last that counts; None: all.
    """
    ledger = workspace.ledger()
    shards = [ref for ref in ledger.shards(stage="candidates") if round is None or ref.round <= round]
    rows, measuring = ledger.samples_in([ref.name for ref in shards], "train"), ledger.measuring_scenes()
    keys = {name: [row.key for row in held if row.scene not in measuring] for name, held in rows.items()}
    decided = ledger.decisions([key for held in keys.values() for key in held])
    return [ref for ref in shards if not decided.keys().isdisjoint(keys[ref.name])]
