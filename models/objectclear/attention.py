"""Capture the attention maps of ObjectClear's object token, and nothing else (papers.md, facts 17 and 19).

Attention is softmax(q·Kᵀ)·V. Add a channel to V that is 1 for one token and 0 for the others. This channel of
the result is then the token's column of the softmax. The module therefore widens a layer's queries, keys and
values by a channel, and its output projection removes the channel again. One call of scaled-dot-product
attention gives both, forward and backward. Nothing is computed or stored twice.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, cast

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.amp import is_autocast_available
from torch.autograd import Function
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from torch.utils.module_tracker import ModuleTracker

from data_specs.errors import ModelError

Layers = Literal["all", "first"]
"""``all``: every cross-attention, as the mask loss needs. ``first``: the one that guides the fusion."""

_NO_FRACTION = -1e4
"""The softmax turns this into exactly 0, scaled or not. Half precision can hold it. Diffusers uses it for
masks."""


@contextmanager
def capture_object_attention(
    unet: UNet2DConditionModel, position: int, layers: Layers = "all"
) -> Iterator[dict[str, Tensor]]:
    """Inside the context, every forward pass of ``unet`` writes its object token's maps into the mapping.

    Args:
        unet: Its attention is diffusers' own. ``_ObjectAttention`` replaces it in the captured layers.
        position: Index of the object token in the prompt.
        layers: Which cross-attentions.

    Yields:
        Layer name → B×heads×h×w float32, 0..1, of the latest pass. The layers are in the order down, mid, up.
        Differentiable if gradients are on.

    Raises:
        ModelError: If the U-Net has no cross-attention, or one that does not compute as SDXL's does.
    """
    maps: dict[str, Tensor] = {}
    channels = _Channels(position)
    attentions = cross_attentions(unet)
    if not attentions:
        raise ModelError(
            "the U-Net has no cross-attention, so a token has no attention map; use an SDXL U-Net"
        )
    with ExitStack() as until:
        for name, (transformer, attention) in list(attentions.items())[: 1 if layers == "first" else None]:
            before = _plain_processor(name, attention)
            ours = _ObjectAttention(partial(maps.__setitem__, name), channels)
            until.callback(transformer.register_forward_pre_hook(ours.note_size).remove)
            until.callback(attention.set_processor, before)
            attention.set_processor(cast(Any, ours))
        yield maps


def cross_attentions(unet: UNet2DConditionModel) -> dict[str, tuple[Transformer2DModel, Attention]]:
    """Every ``attn2`` by name, with the transformer that holds it, in the order down, mid, up."""
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    layers: dict[str, tuple[Transformer2DModel, Attention]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, Transformer2DModel):
            for inner, part in module.named_modules(prefix=name):
                if inner.endswith(".attn2") and isinstance(part, Attention):
                    layers[inner] = (module, part)
    return dict(sorted(layers.items(), key=lambda item: order[item[0].partition(".")[0]]))


def _plain_processor(name: str, attention: Attention) -> Any:
    """The layer's processor, if ``_ObjectAttention`` computes the same."""
    processor = attention.processor
    if type(processor) is not AttnProcessor2_0:
        raise ModelError(
            f"{name}: no map can be captured from {type(processor).__name__}; "
            "call unet.set_attn_processor(AttnProcessor2_0()) first"
        )
    for part in ("norm_q", "norm_k", "group_norm", "spatial_norm", "norm_cross", "residual_connection"):
        if getattr(attention, part):
            raise ModelError(
                f"{name}: no map can be captured, because its {part} is not part of SDXL's "
                "cross-attention; use an SDXL U-Net"
            )
    return processor


class _ObjectAttention:
    """One layer's attention, as diffusers' ``AttnProcessor2_0`` computes it, plus the object token's map."""

    def __init__(self, put: Callable[[Tensor], None], channels: "_Channels") -> None:
        self._put = put
        self._channels = channels
        self._size = (0, 0)
        self._tracker = ModuleTracker()  # never entered: it only says whether a backward pass runs

    def note_size(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Store the size before the transformer flattens its cells."""
        self._size = (inputs[0].shape[-2], inputs[0].shape[-1])

    @torch.compiler.disable  # it would compile anew for each layer and soon reach the compiler's limit
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """B×N×C cells and B×T×D words → B×N×C. The parameter names are diffusers'."""
        to_q, to_k, to_v = (cast(nn.Module, layer) for layer in (attn.to_q, attn.to_k, attn.to_v))
        projected = to_q(hidden_states), to_k(encoder_hidden_states), to_v(encoder_hidden_states)
        query, key, value = (part.view(*part.shape[:2], attn.heads, -1) for part in projected)
        if attention_mask is not None:
            images, words = key.shape[:2]
            attention_mask = attn.prepare_attention_mask(attention_mask, words, images)
            attention_mask = pad(attention_mask, (0, _added_words(key)), value=_NO_FRACTION)
            attention_mask = attention_mask.unflatten(0, (images, attn.heads))
        attended = scaled_dot_product_attention(
            torch.cat([query, self._channels.filled(query, query.shape[:3], 1)], -1).transpose(1, 2),
            self._channels.with_keys(key).transpose(1, 2),
            self._channels.with_values(value).transpose(1, 2),
            attn_mask=attention_mask,
            scale=query.shape[-1] ** -0.5,
        )
        to_out = cast(nn.ModuleList, attn.to_out)
        output, column = self._output(to_out[0], attended.transpose(1, 2))
        if not self._tracker.is_bw:  # gradient checkpointing runs this again, and nobody reads that map
            self._put(column.view(len(column), *self._size, -1).permute(0, 3, 1, 2))
        output = to_out[1](output)
        return output if attn.rescale_output_factor == 1 else output / attn.rescale_output_factor

    def _output(self, to_out: nn.Module, attended: Tensor) -> tuple[Tensor, Tensor]:
        """B×N×H×(d + added) → B×N×C, and the object token's column, B×N×H float32."""
        if type(to_out) is nn.Linear and "forward" not in vars(to_out):
            weight, bias, kind = to_out.weight, to_out.bias, attended.device.type
            # Autocast would cast the inputs of a Linear in the same way. "meta" has no autocast.
            if is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                lower = torch.get_autocast_dtype(kind)
                attended, weight = attended.to(lower), weight.to(lower)
                bias = None if bias is None else bias.to(lower)
            zeros = self._channels.filled(weight, torch.Size((len(weight), attended.shape[2])), 0)
            return cast(Any, _Output.apply(attended, weight, bias, zeros))
        # For example a LoRA layer: only the layer itself knows what it computes.
        own = attended.shape[-1] - _added_channels(attended)
        return to_out(attended[..., :own].flatten(-2)), attended[..., own].to(torch.float32, copy=True)


class _Channels:
    """Contents of the added channels, made once for each shape: small calls cost more than they compute.

    A query's added channel is 1. The key's added value is therefore added to its score. For padding it is far
    below zero, so padding gets no weight in the softmax.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        self._filled: dict[object, Tensor] = {}
        self._of_words: dict[object, tuple[Tensor, Tensor]] = {}

    def filled(self, like: Tensor, shape: torch.Size, value: int) -> Tensor:
        """A tensor of the shape plus the added channels, filled with one value."""
        made_for = (value, shape, like.dtype, like.device)
        if made_for not in self._filled:
            self._filled[made_for] = like.new_full((*shape, _added_channels(like)), value)
        return self._filled[made_for]

    def with_keys(self, key: Tensor) -> Tensor:
        """B×T×H×d → B×(T + added)×H×(d + added).

        The added channel is 0 for words and far below zero for padding.
        """
        return self._with("keys", key, object_token=0, padding=_NO_FRACTION)

    def with_values(self, value: Tensor) -> Tensor:
        """B×T×H×d → B×(T + added)×H×(d + added).

        The added channel is 1 for the object token and 0 for the others.
        """
        return self._with("values", value, object_token=1, padding=0)

    def _with(self, kind: str, words: Tensor, object_token: float, padding: float) -> Tensor:
        made_for = (kind, words.shape, words.dtype, words.device)
        if made_for not in self._of_words:
            images, count, heads, width = words.shape
            if not 0 <= self._position < count:
                raise ModelError(
                    f"the prompt has {count} tokens and no token {self._position}; write a longer prompt"
                )
            beside = words.new_zeros(images, count, heads, _added_channels(words))
            beside[:, self._position, :, 0] = object_token
            below = words.new_zeros(images, _added_words(words), heads, width + _added_channels(words))
            below[..., width] = padding
            self._of_words[made_for] = beside, below
        beside, below = self._of_words[made_for]
        widened = torch.cat([words, beside], -1)
        return torch.cat([widened, below], 1) if below.shape[1] else widened


class _Output(Function):
    """Apply ``to_out`` to the result of the widened heads, and return the added column too.

    The weight is widened by zeros instead of narrowing the activations. The activations are then stored once
    for both backward passes, attention's and this one. The column's gradient has its own channel in theirs.
    """

    @staticmethod
    def forward(
        ctx: Any, attended: Tensor, weight: Tensor, bias: Tensor | None, zeros: Tensor
    ) -> tuple[Tensor, Tensor]:
        """B×N×H×(d + added), C×(H·d), C, C×H×added → B×N×C and B×N×H float32."""
        ctx.save_for_backward(attended, weight, zeros)
        output = linear(attended.flatten(2), _widened(weight, zeros), bias)
        # A copy: a view would keep the whole attention result in memory.
        return output, attended[..., -zeros.shape[-1]].to(torch.float32, copy=True)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the first three inputs."""
        (attended, weight, zeros), (output, column) = ctx.saved_tensors, grad_outputs
        rows, of_weight = output.flatten(0, 1), None
        whole = (rows @ _widened(weight, zeros)).view(attended.shape)
        whole[..., -zeros.shape[-1]].add_(column)
        if ctx.needs_input_grad[1]:  # in this order, because CPUs are slower at products of odd width
            by_head = (attended.flatten(2).flatten(0, 1).t() @ rows).view(*attended.shape[2:], -1)
            of_weight = by_head[:, : -zeros.shape[-1]].permute(2, 0, 1).reshape(weight.shape)
        return whole, of_weight, rows.sum(0) if ctx.needs_input_grad[2] else None, None


def _widened(weight: Tensor, zeros: Tensor) -> Tensor:
    """C×(H·d), C×H×added → C×(H·(d + added))."""
    return torch.cat([weight.view(*zeros.shape[:-1], -1), zeros], -1).view(len(weight), -1)


def _added_words(words: Tensor) -> int:
    """Number of words to add to B×T×….

    CPU kernels work on sixteen words at a time and are up to twice as slow else.
    """
    return -words.shape[1] % 16 if words.device.type == "cpu" else 0


def _added_channels(tensor: Tensor) -> int:
    """Number of channels to add to a head. Fused GPU kernels need multiples of eight, a CPU does not."""
    return 1 if tensor.device.type == "cpu" else 8
