"""The object token's attention maps, and nothing else of the attention (papers.md, facts 17 and 19).

The attention itself is left as it is: hooks see the queries and keys that a layer has just projected, and
softmax(q·Kᵀ) is taken once more for the one column that is kept. A layer's whole attention exists only
while its column is taken, and in training it is taken again on the way back instead of being stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from data_specs.errors import ModelError

Layers = Literal["all", "first"]
"""``all``: every cross-attention, as the mask loss wants; ``first``: the one that guides the fusion."""


@contextmanager
def capture_object_attention(
    unet: UNet2DConditionModel, position: int, layers: Layers = "all"
) -> Iterator[dict[str, Tensor]]:
    """Inside, every forward pass of ``unet`` leaves its object token's maps in the mapping.

    Args:
        unet: Its attention processors stay in place, whichever they are.
        position: The object token's place in the prompt.
        layers: Which cross-attentions.

    Yields:
        Layer name → B×heads×h×w float32, 0..1, of the latest pass; the layers in the order down, mid, up.
        Differentiable where gradients are on.

    Raises:
        ModelError: If the U-Net has no cross-attention.
    """
    maps: dict[str, Tensor] = {}
    found = cross_attentions(unet)
    if not found:
        raise ModelError("the U-Net has no cross-attention, so no token of a prompt has a map")
    hooks: list[Any] = []
    try:
        for name, (transformer, attention) in list(found.items())[: 1 if layers == "first" else None]:
            tap = _Tap(maps, name, position, attention)
            hooks.append(transformer.register_forward_pre_hook(tap.note_size))
            hooks.append(cast(nn.Module, attention.to_q).register_forward_hook(tap.note_query))
            hooks.append(cast(nn.Module, attention.to_k).register_forward_hook(tap.take))
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def cross_attentions(unet: UNet2DConditionModel) -> dict[str, tuple[Transformer2DModel, Attention]]:
    """Every ``attn2`` by its name, with the transformer it lies in, in the order down, mid, up."""
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    found: dict[str, tuple[Transformer2DModel, Attention]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, Transformer2DModel):
            for inner, part in module.named_modules(prefix=name):
                if inner.endswith(".attn2") and isinstance(part, Attention):
                    found[inner] = (module, part)
    return dict(sorted(found.items(), key=lambda item: order[item[0].partition(".")[0]]))


class _Tap:
    """One layer's hooks: the transformer's h×w, then the queries, then the keys complete a map."""

    def __init__(self, maps: dict[str, Tensor], name: str, position: int, attention: Attention) -> None:
        self._heads = attention.heads
        self._put = partial(maps.__setitem__, name)
        self._position = position
        self._size = (0, 0)
        self._query: Tensor | None = None

    def note_size(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._size = (inputs[0].shape[-2], inputs[0].shape[-1])

    def note_query(self, module: nn.Module, inputs: tuple[Tensor, ...], query: Tensor) -> None:
        self._query = query

    def take(self, module: nn.Module, inputs: tuple[Tensor, ...], key: Tensor) -> None:
        query, self._query = cast(Tensor, self._query), None
        column = cast(Tensor, _Column.apply(query, key, self._heads, self._position))
        self._put(column.unflatten(-1, self._size))


class _Column(torch.autograd.Function):
    """One token's column of softmax(q·Kᵀ/√d): B×N×(H·d), B×T×(H·d) → B×H×N. Stores only q and K."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, heads: int, position: int) -> Tensor:
        ctx.save_for_backward(query, key)
        ctx.heads, ctx.position = heads, position
        return _shares(_by_head(query, heads), _by_head(key, heads))[:, :, position].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        query, key = (_by_head(tensor, ctx.heads) for tensor in ctx.saved_tensors)
        scale, shares = query.shape[-1] ** -0.5, _shares(query, key)
        reach = gradients[0] * shares[:, :, ctx.position] * scale
        # Softmax's derivative for one column c and every logit t: c·([t is the token] − shares_t).
        logits = shares.mul_(-reach[:, :, None])
        logits[:, :, ctx.position] += reach
        logits = logits.to(query.dtype)
        to_query, to_key = logits.transpose(-1, -2) @ key, logits @ query
        return to_query.transpose(1, 2).flatten(2), to_key.transpose(1, 2).flatten(2), None, None


def _by_head(tensor: Tensor, heads: int) -> Tensor:
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def _shares(query: Tensor, key: Tensor) -> Tensor:
    """B×H×T×N float32: words before places, because few words are slow to sum along as the last axis."""
    logits = (key * query.shape[-1] ** -0.5) @ query.transpose(-1, -2)
    return logits.softmax(2, dtype=torch.float32)
