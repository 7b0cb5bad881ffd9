from data_specs.round import ClipResult, CycleResult, MaskResult
from flows.report.wording import (
    clip_sentence,
    discriminator_sentence,
    first_and_last,
    masks_sentence,
    success_sentence,
)


def test_the_last_is_the_champion_not_the_last_tried(cycle_result: CycleResult) -> None:
    ends = first_and_last(cycle_result.phases)
    assert ends is not None
    assert [phase.name for phase in ends] == ["initialisation", "human 2"]


def test_a_clear_gain_is_said_to_be_clear(cycle_result: CycleResult) -> None:
    said = success_sentence(cycle_result.phases)
    assert "rose by 27.6 points" in said
    assert "do not overlap" in said


def test_a_gain_within_the_intervals_may_be_chance(cycle_result: CycleResult) -> None:
    first, second = cycle_result.phases[1:3]
    near = second.model_copy(update={"success_rate": 0.43, "success_low": 0.39, "success_high": 0.47})
    assert "may be chance" in success_sentence([first, near])


def test_a_loss_is_said_to_be_one(cycle_result: CycleResult) -> None:
    first, second = cycle_result.phases[1:3]
    worse = second.model_copy(update={"success_rate": 0.3, "success_low": 0.26, "success_high": 0.34})
    said = success_sentence([first, worse])
    assert "fell by 11.2 points" in said
    assert "do not overlap" in said


def test_no_change_is_neither_a_gain_nor_a_loss(cycle_result: CycleResult) -> None:
    first, second = cycle_result.phases[1:3]
    same = second.model_copy(update={"success_rate": first.success_rate + 0.0004})
    assert success_sentence([first, same]).endswith("success on the test split stayed the same.")


def test_no_phase_and_no_promotion(cycle_result: CycleResult) -> None:
    assert success_sentence([]) == "No phase was run."
    assert "No later phase" in success_sentence(cycle_result.phases[1:2])


def test_the_discriminator_is_held_to_its_two_promises(cycle_result: CycleResult) -> None:
    sound, unsound = map(discriminator_sentence, cycle_result.discriminators)
    assert "93.1% of what it keeps is right (as wanted" in sound
    assert "1.8 points from the reviewer's, within" in sound
    assert "below the 90% wanted" in unsound
    assert "not within the 3 wanted" in unsound
    none = cycle_result.discriminators[0].model_copy(update={"precision": None})
    assert discriminator_sentence(none) == "Discriminator 1 scored none of 500 fresh candidates above 0.9."


def test_the_clip_is_reported_either_way() -> None:
    def compared(remover_db: float) -> str:
        telea = ClipResult(method="telea", triplets=84, psnr_mask=22.0, psnr_background=40)
        return clip_sentence(
            [telea, ClipResult(method="final", triplets=84, psnr_mask=remover_db, psnr_background=38)]
        )

    assert "2.5 dB better than cv2's Telea" in compared(24.5)
    assert "1.0 dB worse than cv2's Telea" in compared(21.0)
    assert "paints as well as cv2's Telea" in compared(22.01)
    assert clip_sentence([]) == "The real clip was not compared."


def test_masks_are_told_one_by_one_with_their_sign() -> None:
    def result(mask: str, method: str, psnr_effect: float) -> MaskResult:
        return MaskResult(
            mask=mask, method=method, triplets=9, psnr_effect=psnr_effect, psnr=40, success_rate=0.5
        )

    masks = [
        result("exact", "final remover", 30.0),
        result("exact", "ObjectClear", 29.0),
        result("eroded 2 px", "final remover", 21.0),
        result("eroded 2 px", "ObjectClear", 24.5),
    ]
    assert masks_sentence(masks) == (
        "ObjectClear against the final remover, inside object and effect: "
        "-1.0 dB (exact), +3.5 dB (eroded 2 px)."
    )
    assert masks_sentence([]) == "No masks were compared."
