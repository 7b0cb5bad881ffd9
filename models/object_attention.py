"""The object token's attention maps, and nothing else of the attention (papers.md, facts 17 and 19).

Attention is softmax(q·Kᵀ)·V. Where V has one more channel, 1 for one token and 0 for the others, that channel
of the result is the token's column of the softmax. So a layer's queries, keys and values are widened by a
channel, and what comes out of it ends there: one call of scaled-dot-product attention gives both, forwards
and backwards, whichever processor makes the call, and nothing is computed twice. Queries and output are many,
so it is their projections' weights that are widened; keys and values are as few as words.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import linear

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
    with ExitStack() as until:
        for name, (transformer, attention) in list(found.items())[: 1 if layers == "first" else None]:
            _Tap(maps, name, position, attention.heads).open(until, transformer, attention)
        yield maps


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
    """One layer's part: it notes h×w, widens what is projected, and takes the map off what is attended."""

    def __init__(self, maps: dict[str, Tensor], name: str, position: int, heads: int) -> None:
        self._put = partial(maps.__setitem__, name)
        self._position = position
        self._heads = heads
        self._size = (0, 0)
        self._channels: dict[object, Tensor] = {}

    def open(self, until: ExitStack, transformer: Transformer2DModel, attention: Attention) -> None:
        """Work on these until the stack is unwound."""
        until.callback(transformer.register_forward_pre_hook(self._note_size).remove)
        until.callback(cast(nn.Module, attention.to_k).register_forward_hook(self._widen_key).remove)
        until.callback(cast(nn.Module, attention.to_v).register_forward_hook(self._widen_value).remove)
        to_q, to_out = cast(nn.Module, attention.to_q), cast(nn.ModuleList, attention.to_out)[0]
        until.enter_context(_forwarded(to_q, partial(self._query, to_q, to_q.forward)))
        until.enter_context(_forwarded(to_out, partial(self._output, to_out, to_out.forward)))

    def _note_size(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._size = (inputs[0].shape[-2], inputs[0].shape[-1])

    def _widen_key(self, module: nn.Module, inputs: tuple[Tensor, ...], key: Tensor) -> Tensor:
        # The processor will divide by the root of the wider head; few words make the keys cheap to correct.
        narrow = key.shape[-1] // self._heads
        return self._widened(key * ((narrow + _added(key)) / narrow) ** 0.5, 2)

    def _widen_value(self, module: nn.Module, inputs: tuple[Tensor, ...], value: Tensor) -> Tensor:
        return self._widened(value, 2, self._position)

    def _query(self, to_q: nn.Module, project: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
        if type(to_q) is not nn.Linear:  # a LoRA's, for one: it alone knows what it computes
            return self._widened(project(hidden), 2)
        bias = None if to_q.bias is None else self._widened(to_q.bias, 0)
        return linear(hidden, self._widened(to_q.weight, 0), bias)

    def _output(self, to_out: nn.Module, project: Callable[[Tensor], Tensor], attended: Tensor) -> Tensor:
        attended, column = _Column.apply(attended, self._heads)
        self._put(column.unflatten(-1, self._size))
        if type(to_out) is not nn.Linear:
            by_head = attended.unflatten(-1, (self._heads, -1))
            return project(by_head[..., : -_added(attended)].flatten(-2))
        return linear(attended, self._widened(to_out.weight, 1), to_out.bias)

    def _widened(self, tensor: Tensor, dim: int, token: int | None = None) -> Tensor:
        """H·d → H·(d + added) along ``dim``: what is added is 1 for the token, 0 elsewhere."""
        by_head, added = tensor.unflatten(dim, (self._heads, -1)), _added(tensor)
        shape = (*by_head.shape[: dim + 1], added, *by_head.shape[dim + 2 :])
        made_for = (shape, token, tensor.dtype, tensor.device)
        if made_for not in self._channels:  # made once: small calls cost more than they compute
            channel = tensor.new_zeros(shape)
            if token is not None:
                channel[:, token] = 1
            self._channels[made_for] = channel
        return torch.cat([by_head, self._channels[made_for]], dim + 1).flatten(dim, dim + 1)


class _Column(Function):
    """B×N×(H·(d + added)) → the same, and B×H×N float32: each head's first added channel.

    By ``select`` autograd would fill a gradient of the whole with zeros and add it.
    """

    @staticmethod
    def forward(ctx: Any, attended: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        ctx.heads, ctx.shape = heads, attended.shape
        ctx.set_materialize_grads(False)
        channel = attended.unflatten(-1, (heads, -1))[..., -_added(attended)]
        # A copy: a view would keep all that was attended to.
        return attended.view_as(attended), channel.transpose(1, 2).to(torch.float32, copy=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        whole, column = gradients
        if column is None:
            return whole, None
        whole = column.new_zeros(ctx.shape) if whole is None else whole.clone()
        channel = whole.unflatten(-1, (ctx.heads, -1))[..., -_added(whole)]
        channel += column.transpose(1, 2)
        return whole, None


@contextmanager
def _forwarded(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the module's own forward is this one."""
    before = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        vars(module).update({} if before is None else {"forward": before})


def _added(tensor: Tensor) -> int:
    """Channels a head is widened by: fused kernels of GPUs want heads in eights, a CPU does not."""
    return 1 if tensor.device.type == "cpu" else 8
