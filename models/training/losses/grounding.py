"""Compute Grounding DINO's loss of one batch: phrases and boxes of matched queries (arXiv 2303.05499).

transformers' own loss is not used. If prompts differ, it takes the third image's words for the second's. In
two stages it scores proposals by the decoder's first queries, with boxes that pass no gradient.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoObjectDetectionOutput

from models.perception.grounding_dino import Prompts

_PHRASE_WEIGHT = 2.0
"""As published. The weights of the box terms are in the network's own config."""
_PROPOSED_BY = 4
"""Positions that propose an object. Published is one. With more, a short training finds objects sooner."""


@dataclass(frozen=True, slots=True)
class GroundedBatch:
    """B images, their prompts, and the N boxes that answer them."""

    images: Tensor
    """B×3×S×S float, normalised."""
    prompts: Prompts
    """B."""
    image_of: Tensor
    """N int64: the image of each box."""
    phrase_of: Tensor
    """N int64: the phrase of its image that each box answers."""
    boxes: Tensor
    """N×4 float, [0, 1]: centre x, centre y, width and height, in the image's sides."""


def grounding_loss(network: GroundingDinoForObjectDetection, batch: GroundedBatch) -> Tensor:
    """The sum of the losses of all stages, divided by the number of images.

    Returns:
        Scalar.
    """
    output = network(pixel_values=batch.images, **batch.prompts.named())
    proposed = output.enc_outputs_class, output.enc_outputs_coord_logits.sigmoid()
    total = stage_loss(*proposed, batch, network.config, _PROPOSED_BY)
    for logits, boxes in decoder_stages(network, output, batch.prompts):
        total = total + stage_loss(logits, boxes, batch, network.config)
    return total / len(batch.images)


def decoder_stages(
    network: GroundingDinoForObjectDetection, output: GroundingDinoObjectDetectionOutput, prompts: Prompts
) -> list[tuple[Tensor, Tensor]]:
    """Logits B×Q×L and boxes B×Q×4 after each decoder layer. The last are the network's output."""
    hidden, later = output.intermediate_hidden_states, output.intermediate_reference_points
    text, first = output.encoder_last_hidden_state_text, output.init_reference_points
    assert hidden is not None
    assert later is not None
    assert text is not None
    stages: list[tuple[Tensor, Tensor]] = []
    for number, (name, refine) in enumerate(zip(network.class_embed, network.bbox_embed, strict=True)):
        state = hidden[:, number]
        before = torch.special.logit(first if number == 0 else later[:, number - 1], eps=1e-5)
        stages.append((name(state, text, prompts.real.bool()), (refine(state) + before).sigmoid()))
    return stages


def stage_loss(
    logits: Tensor, boxes: Tensor, batch: GroundedBatch, config: GroundingDinoConfig, found_by: int = 1
) -> Tensor:
    """Focal loss of every token, L1 and generalised IoU of matched boxes, summed over images.

    Args:
        logits: B×Q×L, of tokens.
        boxes: B×Q×4, as in the batch.
        batch: The truth.
        config: The weights of the terms.
        found_by: Number of queries that each object is matched with.
    """
    logits = logits[..., : batch.prompts.tokens.shape[1]]
    wanted = torch.zeros_like(logits)
    predicted_boxes, true = [boxes[0, :0]], [batch.boxes[:0]]
    for number in batch.image_of.unique().tolist():
        own = batch.image_of == number
        tokens = batch.prompts.phrases[number, batch.phrase_of[own]].to(logits.dtype).repeat(found_by, 1)
        meant = batch.boxes[own].repeat(found_by, 1)
        real = batch.prompts.real[number].bool()
        places, whose = matched_queries(
            logits[number][:, real], boxes[number], tokens[:, real], meant, config
        )
        wanted[number, places] = tokens[whose]
        predicted_boxes.append(boxes[number, places])
        true.append(meant[whose])
    predicted, wished = torch.cat(predicted_boxes), torch.cat(true)
    real = batch.prompts.real.bool()[:, None].expand_as(logits)
    named = sigmoid_focal_loss(logits[real], wanted[real], alpha=config.focal_alpha, gamma=2, reduction="sum")
    moved = (predicted - wished).abs().sum()
    apart = generalized_box_iou_loss(_edges(predicted), _edges(wished), reduction="sum")
    return (
        _PHRASE_WEIGHT * named + config.bbox_loss_coefficient * moved + config.giou_loss_coefficient * apart
    )


@torch.no_grad()
def matched_queries(
    logits: Tensor, boxes: Tensor, tokens: Tensor, true_boxes: Tensor, config: GroundingDinoConfig
) -> tuple[Tensor, Tensor]:
    """The pairing of one image's queries and objects with the lowest cost.

    Args:
        logits: Q×T, of real tokens.
        boxes: Q×4.
        tokens: K×T, 1 = a word of the object's phrase.
        true_boxes: K×4.
        config: The cost of each difference.

    Returns:
        Indices of queries and objects, int64 each, min(Q, K) pairs.
    """
    sure = logits.sigmoid()
    yes = config.focal_alpha * (1 - sure) ** 2 * -(sure + 1e-8).log()
    no = (1 - config.focal_alpha) * sure**2 * -(1 - sure + 1e-8).log()
    named = (yes - no) @ (tokens / tokens.sum(dim=1, keepdim=True)).T
    apart = -generalized_box_iou(_edges(boxes), _edges(true_boxes))
    moved = torch.cdist(boxes, true_boxes, p=1)
    cost = config.class_cost * named + config.bbox_cost * moved + config.giou_cost * apart
    places, whose = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(places, device=boxes.device), torch.as_tensor(whose, device=boxes.device)


def _edges(boxes: Tensor) -> Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")
