"""The object token's attention maps, and nothing else of the attention (papers.md, facts 17 and 19).

Attention is softmax(q·Kᵀ)·V. Where V has one more channel, 1 for one token and 0 for the others, that channel
of the result is the token's column of the softmax. So hooks widen a layer's queries, keys and values by a
channel, and its output projection takes it off again: one call of scaled-dot-product attention gives both,
forwards and backwards, whichever processor makes the call, and nothing is computed or kept twice.
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
        widened = {"to_q": self._widen_query, "to_k": self._widen_key, "to_v": self._widen_value}
        for name, hook in widened.items():
            until.callback(attention.get_submodule(name).register_forward_hook(hook).remove)
        to_out = cast(nn.ModuleList, attention.to_out)[0]
        until.enter_context(_forwarded(to_out, partial(self._output, to_out, to_out.forward)))

    def _note_size(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._size = (inputs[0].shape[-2], inputs[0].shape[-1])

    def _widen_query(self, module: nn.Module, inputs: tuple[Tensor, ...], query: Tensor) -> Tensor:
        return _widened(query, self._heads, self._channel(query))

    def _widen_key(self, module: nn.Module, inputs: tuple[Tensor, ...], key: Tensor) -> Tensor:
        # The processor will divide by the root of the wider head; few words make the keys cheap to correct.
        narrow = key.shape[-1] // self._heads
        scaled = key * ((narrow + _added(key)) / narrow) ** 0.5
        return _widened(scaled, self._heads, self._channel(key))

    def _widen_value(self, module: nn.Module, inputs: tuple[Tensor, ...], value: Tensor) -> Tensor:
        return _widened(value, self._heads, self._channel(value, self._position))

    def _channel(self, tensor: Tensor, token: int | None = None) -> Tensor:
        """What is added to this B×N×C: N×1×1, 1 for the token; or a zero for all."""
        made_for = (tensor.shape[1], token, tensor.dtype, tensor.device)
        if made_for not in self._channels:  # made once: small calls cost more than they compute
            self._channels[made_for] = tensor.new_zeros(() if token is None else (tensor.shape[1], 1, 1))
            if token is not None:
                self._channels[made_for][token] = 1
        return self._channels[made_for]

    def _output(self, to_out: nn.Module, project: Callable[[Tensor], Tensor], attended: Tensor) -> Tensor:
        if type(to_out) is nn.Linear:
            attended, weight = _autocast(attended), _autocast(to_out.weight)
            bias = None if to_out.bias is None else _autocast(to_out.bias)
            output, column = _Output.apply(attended, weight, bias, self._channel(attended), self._heads)
        else:  # a LoRA's, for one: it alone knows what it computes
            narrow, column = _split(attended, self._heads)
            output, column = project(narrow.flatten(-2)), column.float()
        self._put(column.unflatten(-1, self._size))
        return output


class _Output(Function):
    """``to_out`` of what was attended by wider heads, and the column in it.

    The weight is widened by zeros in the place of narrowing the activations: these are kept once for both
    backward passes, attention's and this one. The column's gradient has its place in theirs.
    """

    @staticmethod
    def forward(
        ctx: Any, attended: Tensor, weight: Tensor, bias: Tensor | None, zero: Tensor, heads: int
    ) -> tuple[Tensor, Tensor]:
        """B×N×(H·(d + added)), C×(H·d), C → B×N×C and B×H×N float32."""
        ctx.save_for_backward(attended, weight, zero)
        ctx.heads = heads
        # A copy: a view would keep all that was attended to.
        column = _split(attended, heads)[1].to(torch.float32, copy=True)
        return linear(attended, _widened(weight, heads, zero), bias), column

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the first three."""
        (attended, weight, zero), (output, column) = ctx.saved_tensors, grad_outputs
        whole = output @ _widened(weight, ctx.heads, zero)
        _split(whole, ctx.heads)[1].add_(column)
        rows = output.flatten(0, 1)
        of_weight = rows.t() @ attended.flatten(0, 1) if ctx.needs_input_grad[1] else None
        return (
            whole,
            None if of_weight is None else _split(of_weight, ctx.heads)[0].flatten(-2),
            rows.sum(0) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def _autocast(tensor: Tensor) -> Tensor:
    """As the caller's autocast has a ``Linear`` take it."""
    kind = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tensor


def _split(wide: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """…×N×(H·(d + added)) → …×N×H×d, and …×H×N: each head's first added channel. Both are views."""
    by_head, added = wide.unflatten(-1, (heads, -1)), _added(wide)
    return by_head[..., :-added], by_head[..., -added].transpose(-2, -1)


def _widened(tensor: Tensor, heads: int, channel: Tensor) -> Tensor:
    """…×(H·d) → …×(H·(d + added)): after each head's own channels comes this one."""
    by_head = tensor.unflatten(-1, (heads, -1))
    return torch.cat([by_head, channel.expand(*by_head.shape[:-1], _added(tensor))], -1).flatten(-2)


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
