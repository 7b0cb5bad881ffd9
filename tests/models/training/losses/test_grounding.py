"""Grounding DINO's loss against transformers' own where that is right, and where it is not."""

from itertools import permutations
from typing import Any, cast

import pytest
import torch
from torchvision.ops import box_convert, generalized_box_iou
from transformers import GroundingDinoForObjectDetection
from transformers.loss.loss_grounding_dino import GroundingDinoForObjectDetectionLoss
from transformers.models.grounding_dino.modeling_grounding_dino import build_label_maps, build_text_mask

from models.perception.grounding_dino import prompts_of, tiny_grounding_dino, tiny_tokenizer
from models.training.losses.grounding import (
    GroundedBatch,
    decoder_stages,
    grounding_loss,
    matched_queries,
    stage_loss,
)

TOKENIZER = tiny_tokenizer(["red", "blue", "box", "cone"])


@pytest.fixture(scope="module")
def network() -> GroundingDinoForObjectDetection:
    torch.manual_seed(0)
    network = tiny_grounding_dino(len(TOKENIZER)).eval()
    with torch.no_grad():  # untrained, every box head answers its anchor
        for parameter in network.bbox_embed.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def batch_of(asked: list[list[str]]) -> GroundedBatch:
    """Three images of noise: two boxes in the first, none in the second, one in the third."""
    generator = torch.Generator().manual_seed(1)
    return GroundedBatch(
        torch.randn(3, 3, 64, 64, generator=generator),
        prompts_of(asked, TOKENIZER),
        torch.tensor([0, 2, 0]),
        torch.tensor([1, 0, 0]),
        torch.rand(3, 4, generator=generator) * 0.4 + 0.3,
    )


def whose_is(batch: GroundedBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The truth about boxes."""
    return batch.image_of, batch.phrase_of, batch.boxes


def transformers_loss(
    network: GroundingDinoForObjectDetection, logits: torch.Tensor, boxes: torch.Tensor, batch: GroundedBatch
) -> float:
    """Of one stage, in its own code: summed over images, as ours."""
    config = type(network.config)(**{**network.config.to_dict(), "two_stage": False, "auxiliary_loss": False})
    labels = [
        {
            "class_labels": batch.phrase_of[batch.image_of == number],
            "boxes": batch.boxes[batch.image_of == number],
        }
        for number in range(3)
    ]
    maps = build_label_maps(logits, cast(Any, batch.prompts.tokens))
    mask = build_text_mask(logits, batch.prompts.real)
    loss, _, _ = GroundingDinoForObjectDetectionLoss(logits, labels, logits.device, boxes, config, maps, mask)
    return float(loss) * len(batch.boxes)


def test_one_prompt_for_all_gives_transformers_loss_at_every_stage(
    network: GroundingDinoForObjectDetection,
) -> None:
    batch = batch_of([["red box", "cone"]] * 3)
    with torch.no_grad():
        found = network(pixel_values=batch.images, **batch.prompts.named())
        stages = decoder_stages(network, found, batch.prompts)
        assert len(stages) == 2
        torch.testing.assert_close(stages[-1][0], found.logits)
        torch.testing.assert_close(stages[-1][1], found.pred_boxes)
        proposals = (found.enc_outputs_class, found.enc_outputs_coord_logits.sigmoid())
        ours = [float(stage_loss(*stage, batch, network.config)) for stage in (proposals, *stages)]
        theirs = [transformers_loss(network, *stage, batch) for stage in (proposals, *stages)]
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        # In training each object is proposed by four places: as if it stood there four times.
        four = GroundedBatch(
            batch.images,
            batch.prompts,
            *(each.repeat(4, *[1] * (each.ndim - 1)) for each in whose_is(batch)),
        )
        proposed = float(stage_loss(*proposals, batch, network.config, 4))
        assert proposed == pytest.approx(transformers_loss(network, *proposals, four), rel=1e-4)
        assert proposed > 1.5 * ours[0]
        assert float(grounding_loss(network, batch)) == pytest.approx(
            (proposed + sum(ours[1:])) / 3, rel=1e-5
        )


def test_an_image_is_judged_by_its_own_prompt(network: GroundingDinoForObjectDetection) -> None:
    """The third image alone costs what it adds to the three; transformers takes another's words for it."""
    asked = [["red box", "cone"], ["blue box", "red cone", "box"], ["blue cone"]]
    batch = batch_of(asked)
    tokens = batch.prompts.tokens.shape[1]
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 5, 64, generator=generator).masked_fill(torch.arange(64) >= tokens, -torch.inf)
    logits[..., :tokens].masked_fill_(~batch.prompts.real.bool()[:, None], -torch.inf)
    boxes = torch.rand(3, 5, 4, generator=generator) * 0.4 + 0.3
    whole = float(stage_loss(logits, boxes, batch, network.config))
    alone = 0.0
    for number in range(3):
        own = batch.image_of == number
        only = GroundedBatch(
            batch.images[number : number + 1],
            prompts_of([asked[number]], TOKENIZER),
            batch.image_of[own] * 0,
            batch.phrase_of[own],
            batch.boxes[own],
        )
        alone += float(stage_loss(logits[[number]], boxes[[number]], only, network.config))
    assert whole == pytest.approx(alone, rel=1e-5)
    assert abs(transformers_loss(network, logits, boxes, batch) - whole) > 0.5


def test_the_pairing_is_the_cheapest_of_all() -> None:
    generator = torch.Generator().manual_seed(3)
    config = tiny_grounding_dino(len(TOKENIZER)).config
    logits, boxes = torch.randn(5, 4, generator=generator), torch.rand(5, 4, generator=generator) * 0.5 + 0.2
    tokens, true = torch.eye(4)[:3], torch.rand(3, 4, generator=generator) * 0.5 + 0.2
    places, whose = matched_queries(logits, boxes, tokens, true, config)
    p = logits.sigmoid()[:, :3]
    named = 0.25 * (1 - p) ** 2 * -p.log() - 0.75 * p**2 * -(1 - p).log()
    moved = (boxes[:, None] - true).abs().sum(dim=-1)
    apart = -generalized_box_iou(*(box_convert(each, "cxcywh", "xyxy") for each in (boxes, true)))
    cost = named + 5 * moved + 2 * apart
    best = min(permutations(range(5), 3), key=lambda rows: float(cost[list(rows), range(3)].sum()))
    assert sorted(zip(places.tolist(), whose.tolist(), strict=True)) == sorted(
        zip(best, range(3), strict=True)
    )


def test_a_few_steps_down_it_find_a_bright_box() -> None:
    torch.manual_seed(0)
    network = tiny_grounding_dino(len(TOKENIZER)).train()
    images = torch.zeros(2, 3, 64, 64)
    images[0, :, 16:48, 8:40] = 2
    images[1, 0, 8:40, 24:56] = 2
    batch = GroundedBatch(
        images,
        prompts_of([["red box", "cone"]] * 2, TOKENIZER),
        torch.tensor([0, 1]),
        torch.tensor([1, 0]),
        torch.tensor([[0.375, 0.5, 0.5, 0.5], [0.625, 0.375, 0.5, 0.5]]),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = grounding_loss(network, batch)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    # The proposals' boxes learn too: their head has a gradient of its own.
    head = cast(Any, network.model.encoder_output_bbox_embed).layers[-1].weight
    assert head.grad is not None
    assert float(head.grad.abs().sum()) > 0
