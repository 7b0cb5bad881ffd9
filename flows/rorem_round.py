"""One round of RORem: a human phase, then an automated one (papers.md, facts 2 and 3)."""

import time
from collections.abc import Sequence
from typing import Literal

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from flows.artifacts import publish_judge
from flows.progress import tracked
from flows.samples import publish_phase_samples
from flows.settings import RoundSettings
from flows.standing import PhaseOutcome, Standing, as_remover, begin, finish, finished
from flows.steps import (
    fresh_items,
    grow_version,
    propose_in_turn,
    propose_over_shards,
    seeded,
    train_and_compare,
)
from tasks.choose import choose_items
from tasks.grow import accepted_by_review, accepted_by_score, candidates_by_item, one_of_each
from tasks.judge import JudgeMeasure, measure_judge, score_shard
from tasks.review.oracle import oracle_reviews
from tasks.train_judge import JudgeTraining, TrainedJudge, train_discriminator
from tasks.workspace import Workspace


class RoundConfig(RoundSettings):
    """The form of ``rorem_round``."""

    round: int = Field(default=1, ge=1, le=999, description="Number of the round, from 1.")


class JudgeOutcome(BaseModel):
    """The round's judge: where it lies, and how far it can be trusted."""

    model_config = ConfigDict(frozen=True)

    trained: TrainedJudge
    measured: JudgeMeasure


class RoundOutcome(BaseModel):
    """A round's two phases and its judge; a control without judgement has no judge."""

    model_config = ConfigDict(frozen=True)

    human: PhaseOutcome
    automation: PhaseOutcome
    judge: JudgeOutcome | None


@flow(name="rorem-round", flow_run_name="round {config.round}")
def rorem_round(config: RoundConfig) -> RoundOutcome:
    """Choose, propose, review, judge, grow, retrain, compare: by people first, then by the judge.

    Run again after a kill it goes on where it stood; run again after its end it changes nothing.
    """
    workspace = Workspace.open(config.workspace)
    human = human_phase(config, workspace)
    judge = judge_phase(config, workspace, human.standing) if config.growth == "judged" else None
    automation = automation_phase(config, workspace, judge)
    return RoundOutcome(human=human, automation=automation, judge=judge)


def run_key(config: RoundConfig) -> str:
    """Names a run by its settings: the same settings go on with the same run."""
    return derive_key("rorem", config.model_dump_json(exclude={"workspace", "round"}))


def human_phase(config: RoundConfig, workspace: Workspace) -> PhaseOutcome:
    """Candidates of unused items are reviewed; one YES of each item joins the dataset."""
    return _phase(config, workspace, "human", config.human_items, None)


def automation_phase(config: RoundConfig, workspace: Workspace, judge: JudgeOutcome | None) -> PhaseOutcome:
    """The judge scores candidates of unused items; each item's best joins if above the threshold."""
    return _phase(config, workspace, "automation", config.automation_items, judge)


def judge_phase(config: RoundConfig, workspace: Workspace, standing: Standing) -> JudgeOutcome:
    """Train the discriminator on all reviews so far, calibrate it, and measure it on fresh items.

    The reviews that calibrate are of what the remover makes now, which is what the judge will judge.
    """
    run, name = run_key(config), f"judge {config.round}"
    known = workspace.ledger().phase(run, name)
    if known is not None:
        return JudgeOutcome.model_validate(known)
    held_out = choose_items(
        workspace, f"{run} calibration {config.round}", config.calibration_items, config.seed
    )
    refs = propose_in_turn(config, workspace, config.round, "calibration", held_out, standing.remover)
    _ask(config, workspace, refs)
    base = workspace.ledger().model(workspace.ledger().promotions("remover")[0].hash)
    work = JudgeTraining(
        name=name,
        backbone=as_remover(base, config.sampling),
        candidates=tuple(_reviewed_shards(workspace, config.round)),
        judge=config.judge,
        training=seeded(config.judge_training, config.seed, name),
        held_out_items=tuple(held_out),
    )
    trained = train_discriminator(workspace, work)
    fresh = fresh_items(workspace, config.round, config.judge_test_items)
    measured = measure_judge(
        workspace,
        tuple(propose_in_turn(config, workspace, config.round, "fresh", fresh, standing.remover)),
        tuple(workspace.ledger().shards(stage="truth")),
        trained.judge,
        config.reviewer,
        config.keep_above,
        config.round,
        trained.reviewed,
    )
    publish_judge(measured.result, measured.curves)
    outcome = JudgeOutcome(trained=trained, measured=measured)
    workspace.ledger().record_phase(run, name, outcome.model_dump(mode="json"))
    return outcome


def _phase(
    config: RoundConfig,
    workspace: Workspace,
    kind: Literal["human", "automation"],
    count: int,
    judge: JudgeOutcome | None,
) -> PhaseOutcome:
    """Choose, propose, accept, grow, retrain, compare; the ledger's record of it comes last."""
    run, name, began = run_key(config), f"{kind} {config.round}", time.monotonic()
    known = finished(workspace, run, name)
    if known is not None:
        return known
    start = begin(workspace, run, name, config.sampling)
    if start.version is None:
        raise FlowError("this workspace has no dataset version yet; run `cleanplate cycle` first")
    items: list[str] = []
    refs: list[ShardRef] = []
    if config.growth != "nothing":
        items = choose_items(workspace, f"{run} {name}", count, config.seed)
        refs = propose_over_shards(config, workspace, config.round, kind, items, start.remover)
    keys = _accepted(config, workspace, kind, refs, judge)
    version = grow_version(workspace, config.round, kind, refs, keys, start.version)
    outcome = train_and_compare(
        config, workspace, kind, name, start, version, tested=len(items), kept=len(keys), began=began
    )
    publish_phase_samples(config, workspace, outcome, refs, keys, judge.trained.judge if judge else None)
    return finish(workspace, run, outcome)


def _accepted(
    config: RoundConfig,
    workspace: Workspace,
    kind: Literal["human", "automation"],
    refs: Sequence[ShardRef],
    judge: JudgeOutcome | None,
) -> list[str]:
    """Keys of the candidates that join the dataset."""
    if not refs:
        return []
    items = candidates_by_item(workspace, refs)
    ledger = workspace.ledger()
    if config.growth == "everything" or (config.growth == "unjudged" and kind == "automation"):
        return one_of_each(items)
    if kind == "human":
        _ask(config, workspace, refs)
        asked = [key for keys in items.values() for key in keys]
        decided = ledger.decisions(asked)
        return accepted_by_review(items, {key for key, decision in decided.items() if decision == "yes"})
    assert judge is not None, "an automated phase with judged growth has a judge"
    for ref in refs:
        score_shard(workspace, ref, judge.trained.judge)
    return accepted_by_score(items, ledger.scores(judge.trained.judge.hash), config.keep_above)


def _ask(config: RoundConfig, workspace: Workspace, refs: Sequence[ShardRef]) -> None:
    """Every candidate of the shards is answered into the ledger."""
    truth = tuple(workspace.ledger().shards(stage="truth"))
    for ref in tracked(refs, "reviews"):
        oracle_reviews(workspace, ref, truth, config.reviewer)


def _reviewed_shards(workspace: Workspace, round: int) -> list[ShardRef]:
    """Candidate shards of this round and those before about which something is decided."""
    ledger = workspace.ledger()
    shards = [ref for ref in ledger.shards(stage="candidates") if ref.round <= round]
    return [ref for ref in shards if ledger.decisions([row.key for row in ledger.samples_of(ref.name)])]
