"""The object token's attention maps, and nothing else of the attention (papers.md, facts 17 and 19).

Attention is softmax(q·Kᵀ)·V. Where V has one more channel, 1 for one token and 0 for the others, that channel
of the result is the token's column of the softmax. So hooks widen a layer's queries, keys and values by a
channel and take it off the result again: one call of scaled-dot-product attention gives both, forwards and
backwards, whichever processor makes the call, and nothing is computed twice.
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
            hooks += _Tap(maps, name, position, attention.heads).hooks(transformer, attention)
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
    """One layer's hooks: they note h×w, widen what is projected, and take the map off what is attended."""

    def __init__(self, maps: dict[str, Tensor], name: str, position: int, heads: int) -> None:
        self._put = partial(maps.__setitem__, name)
        self._position = position
        self._heads = heads
        self._size = (0, 0)
        self._channel: dict[object, Tensor] = {}

    def hooks(self, transformer: Transformer2DModel, attention: Attention) -> list[Any]:
        """Handles of all of them, to be removed."""
        to_q, to_k, to_v = (
            cast(nn.Module, part) for part in (attention.to_q, attention.to_k, attention.to_v)
        )
        to_out = cast(nn.ModuleList, attention.to_out)[0]
        return [
            transformer.register_forward_pre_hook(self._note_size),
            to_q.register_forward_hook(self._widen_query),
            to_k.register_forward_hook(self._widen_key),
            to_v.register_forward_hook(self._widen_value),
            to_out.register_forward_pre_hook(self._take),
        ]

    def _note_size(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._size = (inputs[0].shape[-2], inputs[0].shape[-1])

    def _widen_query(self, module: nn.Module, inputs: tuple[Tensor, ...], query: Tensor) -> Tensor:
        return self._widened(query, None)

    def _widen_key(self, module: nn.Module, inputs: tuple[Tensor, ...], key: Tensor) -> Tensor:
        # The processor will divide by the root of the wider head; few words make the keys cheap to correct.
        narrow = key.shape[-1] // self._heads
        return self._widened(key * ((narrow + _added(key)) / narrow) ** 0.5, None)

    def _widen_value(self, module: nn.Module, inputs: tuple[Tensor, ...], value: Tensor) -> Tensor:
        return self._widened(value, self._position)

    def _widened(self, projected: Tensor, token: int | None) -> Tensor:
        """B×N×(H·d) → B×N×(H·(d + added)): what is added is 1 for the token, 0 elsewhere."""
        by_head = projected.unflatten(-1, (self._heads, -1))
        made_for = (token, projected.dtype, projected.device, projected.shape[:2])
        if made_for not in self._channel:  # made once: on a GPU small kernels cost more than they compute
            channel = projected.new_zeros(1, projected.shape[1], 1, 1)
            if token is not None:
                channel[:, token] = 1
            self._channel[made_for] = channel.expand(*by_head.shape[:3], _added(projected))
        return torch.cat([by_head, self._channel[made_for]], -1).flatten(-2)

    def _take(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        attended, *rest = inputs
        by_head = attended.unflatten(-1, (self._heads, -1))
        added = _added(attended)
        narrow, channels = by_head.split([by_head.shape[-1] - added, added], -1)
        # A copy: a view would keep all that was attended to.
        column = channels[..., 0].transpose(1, 2).to(torch.float32, copy=True)
        self._put(column.unflatten(-1, self._size))
        return narrow.flatten(-2), *rest


def _added(tensor: Tensor) -> int:
    """Channels a head is widened by: fused kernels of GPUs want heads in eights, a CPU does not."""
    return 1 if tensor.device.type == "cpu" else 8
