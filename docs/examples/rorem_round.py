"""RORem at tiny size, in the paper's order: stage 1, then one round of stages 2 and 3 (arXiv 2501.00740).

python docs/examples/rorem_round.py FOLDER
"""

import sys
from pathlib import Path

from data_specs.assessment import QualityConfig
from data_specs.shard import Purpose, ShardRef
from models.profiles import PROFILES
from models.rorem.remover import InpaintingRemover
from tasks.evaluation.evaluate import evaluate, read_triplets
from tasks.registry.removers import RemoverRef, load_remover
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.review.oracle import OracleConfig, oracle_for, read_candidates
from tasks.rorem.calibrate import CalibrationWork, Purity, calibrate
from tasks.rorem.grow import GrowWork, accepted_by_review, accepted_by_score, candidates_by_item, grow
from tasks.rorem.propose import ProposeWork, propose
from tasks.rorem.sample_pool import unused_items
from tasks.rorem.score import ScoreWork, score
from tasks.rorem.train_discriminator import DiscriminatorRef, DiscriminatorTraining, train_from_reviews
from tasks.rorem.train_remover import RemoverTraining, train_remover
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset.versions import create_version, selection_of
from tasks.storage.workspace import Workspace

TINY = PROFILES["tiny"]
HUMAN_ITEMS, AUTOMATION_ITEMS = 40, 40
STEPS = 20
"""Of each training; the tiny profile takes 140 to 400."""


def main(folder: Path) -> None:
    """Initialise, let people answer, train a discriminator, let it answer; retrain after each."""
    workspace = Workspace.open(folder)
    pairs = synthetic_shard(workspace, "triplets", "train", index=0, count=60)
    tests = synthetic_shard(workspace, "triplets", "test", index=1, count=40)
    synthetic_shard(workspace, "pool", "train", index=0, count=HUMAN_ITEMS + AUTOMATION_ITEMS)

    # Stage 1: the base model learns from pairs with ground truth.
    version = create_version(workspace, [(pairs, None)], None, "initial pairs").number
    remover = trained(workspace, "initialisation", base_model(), version)
    report(workspace, "initialisation", remover, tests)

    # Stage 2: the remover makes candidates, people answer YES or NO, one YES of each item joins.
    items = drawn(workspace, "human", HUMAN_ITEMS)
    candidates = proposed(workspace, "human", items, remover)
    yes = answered(workspace, candidates)
    accepted = accepted_by_review(candidates_by_item(workspace, [candidates]), yes)
    version = grown(workspace, "human", candidates, accepted, version)
    remover = trained(workspace, "human 1", remover, version)
    report(workspace, "human 1", remover, tests)

    # YES and NO together train the discriminator. Every fourth item calibrates it.
    held_out = tuple(items[::4])
    taught = train_from_reviews(
        workspace,
        DiscriminatorTraining(
            name="discriminator 1",
            backbone=base_model(),
            candidates=(candidates,),
            discriminator=TINY.discriminator_shape,
            training=TINY.discriminator.model_copy(update={"steps": STEPS}),
            held_out_items=held_out,
        ),
    )
    calibration = CalibrationWork(
        name="discriminator 1",
        trained=taught,
        candidates=(candidates,),
        items=held_out,
        purity=Purity(),
        error_rate=OracleConfig().error_rate,
    )
    discriminator = calibrate(workspace, calibration).discriminator

    # Stage 3: the discriminator scores new candidates; an item's best joins if it is above the threshold.
    items = drawn(workspace, "automation", AUTOMATION_ITEMS)
    candidates = proposed(workspace, "automation", items, remover)
    scores = scored(workspace, candidates, discriminator)
    accepted = accepted_by_score(candidates_by_item(workspace, [candidates]), scores, 0.9)
    version = grown(workspace, "automation", candidates, accepted, version)
    remover = trained(workspace, "automation 1", remover, version)
    report(workspace, "automation 1", remover, tests)


def synthetic_shard(workspace: Workspace, stage: str, split: str, index: int, count: int) -> ShardRef:
    """Synthetic samples; those of the pool are other scenes, and their ground truth is kept apart."""
    config = {"seed": int(stage == "pool"), "split": split}
    work = {"round": 0, "index": index, "stage": stage, "renderer": config, "first": 0, "count": count}
    return render(workspace, RenderWork.model_validate(work))


def base_model() -> RemoverRef:
    """The shipped network, where the paper has SDXL-inpainting."""
    model_hash = InpaintingRemover(network_at(BASE_FOLDER), TINY.sampling).model_hash
    return RemoverRef(hash=model_hash, folder=str(BASE_FOLDER), sampling=TINY.sampling)


def drawn(workspace: Workspace, purpose: Purpose, count: int) -> list[str]:
    """Pool items that no phase has used; now this one has."""
    items = unused_items(workspace)[:count]
    workspace.ledger().draws.draw(f"{purpose} 1", purpose, items)
    return items


def proposed(workspace: Workspace, purpose: Purpose, items: list[str], remover: RemoverRef) -> ShardRef:
    """Two candidates of each item, by two mask variants."""
    pool = tuple(workspace.ledger().shards.all(stage="pool"))
    return propose(
        workspace,
        ProposeWork(
            round=1,
            index=0,
            phase=f"{purpose} 1",
            purpose=purpose,
            pool=pool,
            items=tuple(items),
            variants=("tight", "dilated"),
            remover=remover,
        ),
    )


def answered(workspace: Workspace, candidates: ShardRef) -> set[str]:
    """The candidates with a YES. The oracle answers in place of people."""
    shown = read_candidates(workspace, candidates)
    reviews = oracle_for(workspace, OracleConfig(), shown).answer(shown)
    workspace.ledger().reviews.record(reviews)
    return {review.candidate for review in reviews if review.decision == "yes"}


def scored(workspace: Workspace, candidates: ShardRef, discriminator: DiscriminatorRef) -> dict[str, float]:
    """The discriminator's score of each candidate."""
    score(workspace, ScoreWork(ref=candidates, discriminator=discriminator))
    return workspace.ledger().scores.of(discriminator.hash)


def grown(
    workspace: Workspace, purpose: Purpose, candidates: ShardRef, accepted: list[str], parent: int
) -> int:
    """The dataset version with the accepted candidates."""
    phase = f"{purpose} 1"
    print(f"{phase}: {len(accepted)} of {candidates.samples} candidates accepted")
    if not accepted:
        return parent
    work = GrowWork(
        round=1, index=0, phase=phase, purpose=purpose, candidates=(candidates,), accepted=tuple(accepted)
    )
    selection = [*selection_of(workspace, parent), (grow(workspace, work), None)]
    return create_version(workspace, selection, parent, phase).number


def trained(workspace: Workspace, phase: str, parent: RemoverRef, version: int) -> RemoverRef:
    """The remover, trained further on a dataset version."""
    work = RemoverTraining(
        name=phase,
        parent=parent,
        version=version,
        version_sha256=workspace.ledger().versions.numbered(version).sha256,
        training=TINY.retraining.model_copy(update={"steps": STEPS}),
        loss=TINY.retraining_loss,
        sampling=TINY.sampling,
    )
    return train_remover(workspace, work).remover


def report(workspace: Workspace, phase: str, remover: RemoverRef, tests: ShardRef) -> None:
    """Success and PSNR on test triplets that no phase sees."""
    triplets = read_triplets(workspace, [tests], "test")
    found = evaluate(load_remover(workspace, remover), triplets, QualityConfig())
    print(f"{phase}: success {found.success_rate:.1%}, PSNR {found.psnr:.1f} dB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
