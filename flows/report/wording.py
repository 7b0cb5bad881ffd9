"""What the figures say, in sentences that stay honest whichever way the figures fall."""

from collections.abc import Sequence

from data_specs.composite import CompositingResult, PooledComposites
from data_specs.round import ClipResult, DiscriminatorResult, MaskResult, PhaseResult

MIN_PRECISION = 0.9
"""Kept results should be right this often; RORem keeps what is scored above 0.9."""

MAX_GAP = 0.03
"""The discriminator's success rate should lie this near to the reviewer's (RORem: 3 points)."""


def first_and_last(phases: Sequence[PhaseResult]) -> tuple[PhaseResult, PhaseResult] | None:
    """The initial model's phase and the one whose remover is champion at the end; None without phases."""
    if not phases:
        return None
    first = next((phase for phase in phases if phase.kind == "initialisation"), phases[0])
    promoted = [phase for phase in phases if phase.promoted]
    return first, promoted[-1] if promoted else first


def success_sentence(phases: Sequence[PhaseResult]) -> str:
    """How far the cycle came, and whether the intervals support it."""
    ends = first_and_last(phases)
    if ends is None:
        return "No phase was run."
    first, last = ends
    if first == last:
        return f"No later phase replaced the remover of {first.name}."
    points = 100 * (last.success_rate - first.success_rate)
    if f"{abs(points):.1f}" == "0.0":
        return f"From {first.name} to {last.name}, success on the test split stayed the same."
    way = "rose" if points >= 0 else "fell"
    apart = last.success_low > first.success_high or last.success_high < first.success_low
    held = "do not overlap" if apart else "overlap, so this may be chance"
    return (
        f"From {first.name} to {last.name}, success on the test split {way} by {abs(points):.1f} points; "
        f"the 95% intervals {held}."
    )


def discriminator_sentence(discriminator: DiscriminatorResult) -> str:
    """Whether one discriminator can be trusted to keep candidates alone."""
    if discriminator.precision is None:
        return (
            f"Discriminator {discriminator.round} scored none of {discriminator.tested:,} "
            "fresh candidates above 0.9."
        )
    right = "as wanted" if discriminator.precision >= MIN_PRECISION else "below the 90% wanted"
    near = "within" if discriminator.success_gap <= MAX_GAP else "not within"
    return (
        f"Discriminator {discriminator.round}: {discriminator.precision:.1%} of what it keeps is right "
        f"({right}; {discriminator.base_rate:.1%} of all are), "
        f"and it finds {discriminator.recall:.1%} of what is right; "
        f"its success lies {100 * discriminator.success_gap:.1f} points from the reviewer's, "
        f"{near} the 3 wanted."
    )


def clip_sentence(clip: Sequence[ClipResult]) -> str:
    """The last remover against Telea's fill, whichever is better."""
    telea = next((one for one in clip if one.method == "telea"), None)
    removers = [one for one in clip if one.method != "telea"]
    if telea is None or not removers:
        return "The real clip was not compared."
    last = removers[-1]
    difference = last.psnr_mask - telea.psnr_mask
    if abs(difference) < 0.05:
        compared = "paints as well as"
    else:
        compared = f"is {abs(difference):.1f} dB {'better' if difference > 0 else 'worse'} than"
    return (
        f"On {last.triplets:,} triplets of the real clip's held-out time block, "
        f"the {last.method} remover {compared} cv2's Telea fill inside the mask."
    )


def masks_sentence(masks: Sequence[MaskResult]) -> str:
    """How far the last method is ahead of the first under each mask, inside object and effect."""
    if not masks:
        return "No masks were compared."
    first, last = masks[0].method, masks[-1].method
    by_mask = {(one.mask, one.method): one.psnr_effect for one in masks}
    leads = {mask: by_mask[mask, last] - by_mask[mask, first] for mask, method in by_mask if method == last}
    said = ", ".join(f"{lead:+.1f} dB ({mask})" for mask, lead in leads.items())
    return f"{last} against the {first}, inside object and effect: {said}."


def compositing_sentence(result: CompositingResult) -> str:
    """A compositing run's counts."""
    counts = ", ".join(f"{stage.kept:,} {stage.stage}" for stage in result.stages)
    refused = sum(sum(stage.rejects.values()) for stage in result.stages)
    return f"{counts} in {result.shards} shards; {refused:,} refused"


def pooled_sentence(pooled: PooledComposites) -> str:
    """What became of a cycle's composites: in the pool, and in the dataset."""
    joined = f"{pooled.joined:,}" if pooled.joined else "No"
    sentences = [
        f"Compositing gave {compositing_sentence(pooled.made)}.",
        f"{joined} composites joined the dataset's training set.",
    ]
    if pooled.made.pool_items:
        sentences.append(
            f"Of {pooled.made.pool_items:,} composites in the pool the phases drew {pooled.drawn:,}; "
            f"{pooled.grown:,} samples of the last dataset version grew from one."
        )
    return " ".join(sentences)
