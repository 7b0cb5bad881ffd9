"""The object token's attention maps, and nothing else of the attention (papers.md, facts 17 and 19).

Attention is softmax(q·Kᵀ)·V. Where V has one more channel, 1 for one token and 0 for the others, that channel
of the result is the token's column of the softmax. So a layer's queries, keys and values are widened by a
channel, and its output projection takes it off again: one call of scaled-dot-product attention gives both,
forwards and backwards, and nothing is computed or kept twice.
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

from data_specs.errors import ModelError

Layers = Literal["all", "first"]
"""``all``: every cross-attention, as the mask loss wants; ``first``: the one that guides the fusion."""

_NO_FRACTION = -1e4
"""Of this the softmax makes exactly 0, scaled or not; half precision holds it. Diffusers masks by it."""


@contextmanager
def capture_object_attention(
    unet: UNet2DConditionModel, position: int, layers: Layers = "all"
) -> Iterator[dict[str, Tensor]]:
    """Inside, every forward pass of ``unet`` leaves its object token's maps in the mapping.

    Args:
        unet: Its attention is diffusers' own; that of the captured layers gives way to ``_ObjectAttention``.
        position: The object token's place in the prompt.
        layers: Which cross-attentions.

    Yields:
        Layer name → B×heads×h×w float32, 0..1, of the latest pass; the layers in the order down, mid, up.
        Differentiable where gradients are on.

    Raises:
        ModelError: If the U-Net has no cross-attention, or one that computes otherwise than SDXL's.
    """
    maps: dict[str, Tensor] = {}
    channels = _Channels(position)
    found = cross_attentions(unet)
    if not found:
        raise ModelError("the U-Net has no cross-attention, so no token of a prompt has a map")
    with ExitStack() as until:
        for name, (transformer, attention) in list(found.items())[: 1 if layers == "first" else None]:
            before = _plain_processor(name, attention)
            ours = _ObjectAttention(partial(maps.__setitem__, name), channels)
            until.callback(transformer.register_forward_pre_hook(ours.note_size).remove)
            until.callback(attention.set_processor, before)
            attention.set_processor(cast(Any, ours))
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


def _plain_processor(name: str, attention: Attention) -> Any:
    """The layer's processor, where ``_ObjectAttention`` computes the same."""
    found = attention.processor
    if type(found) is not AttnProcessor2_0:
        raise ModelError(
            f"{name}: no map can be captured from {type(found).__name__}; "
            "call unet.set_attn_processor(AttnProcessor2_0()) first"
        )
    for part in ("norm_q", "norm_k", "group_norm", "spatial_norm", "norm_cross", "residual_connection"):
        if getattr(attention, part):
            raise ModelError(
                f"{name}: it has a {part}, which SDXL's cross-attention has not: no map can be captured"
            )
    return found


class _ObjectAttention:
    """One layer's attention, as diffusers' ``AttnProcessor2_0`` computes it, and the object token's map."""

    def __init__(self, put: Callable[[Tensor], None], channels: "_Channels") -> None:
        self._put = put
        self._channels = channels
        self._size = (0, 0)

    def note_size(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Before the transformer flattens its cells."""
        self._size = (inputs[0].shape[-2], inputs[0].shape[-1])

    @torch.compiler.disable  # compiled for each layer anew, it soon meets the compiler's limit
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """B×N×C cells and B×T×D words → B×N×C; the names are diffusers'."""
        to_q, to_k, to_v = (cast(nn.Module, each) for each in (attn.to_q, attn.to_k, attn.to_v))
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
        stepping_back = torch._C._current_graph_task_id() != -1
        if not stepping_back:  # gradient checkpointing comes by again then, and nobody reads that map
            self._put(column.view(len(column), *self._size, -1).permute(0, 3, 1, 2))
        output = to_out[1](output)
        return output if attn.rescale_output_factor == 1 else output / attn.rescale_output_factor

    def _output(self, to_out: nn.Module, attended: Tensor) -> tuple[Tensor, Tensor]:
        """B×N×H×(d + added) → B×N×C, and the column, B×N×H float32."""
        if type(to_out) is nn.Linear and "forward" not in vars(to_out):
            weight, bias, kind = to_out.weight, to_out.bias, attended.device.type
            # As autocast has a Linear take them; "meta" has none.
            if is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                lower = torch.get_autocast_dtype(kind)
                attended, weight = attended.to(lower), weight.to(lower)
                bias = None if bias is None else bias.to(lower)
            zeros = self._channels.filled(weight, torch.Size((len(weight), attended.shape[2])), 0)
            return cast(Any, _Output.apply(attended, weight, bias, zeros))
        # A LoRA's, for one: it alone knows what it computes.
        own = attended.shape[-1] - _added_channels(attended)
        return to_out(attended[..., :own].flatten(-2)), attended[..., own].to(torch.float32, copy=True)


class _Channels:
    """What goes into the added channels, made once for each shape: small calls cost more than they compute.

    A query's is 1, so that what a key has there is added to its score: far below for padding, which so has no
    share in the softmax.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        self._filled: dict[object, Tensor] = {}
        self._of_words: dict[object, tuple[Tensor, Tensor]] = {}

    def filled(self, like: Tensor, shape: torch.Size, value: int) -> Tensor:
        """Shape×added, all of this value."""
        made_for = (value, shape, like.dtype, like.device)
        if made_for not in self._filled:
            self._filled[made_for] = like.new_full((*shape, _added_channels(like)), value)
        return self._filled[made_for]

    def with_keys(self, key: Tensor) -> Tensor:
        """B×T×H×d → B×(T + added)×H×(d + added): beside words 0, and far below beside padding."""
        return self._with("keys", key, object_token=0, padding=_NO_FRACTION)

    def with_values(self, value: Tensor) -> Tensor:
        """B×T×H×d → B×(T + added)×H×(d + added): beside the object token 1, and 0 beside the others."""
        return self._with("values", value, object_token=1, padding=0)

    def _with(self, kind: str, words: Tensor, object_token: float, padding: float) -> Tensor:
        made_for = (kind, words.shape, words.dtype, words.device)
        if made_for not in self._of_words:
            images, count, heads, width = words.shape
            if not 0 <= self._position < count:
                raise ModelError(f"no word is number {self._position} in a prompt of {count}")
            beside = words.new_zeros(images, count, heads, _added_channels(words))
            beside[:, self._position, :, 0] = object_token
            below = words.new_zeros(images, _added_words(words), heads, width + _added_channels(words))
            below[..., width] = padding
            self._of_words[made_for] = beside, below
        beside, below = self._of_words[made_for]
        widened = torch.cat([words, beside], -1)
        return torch.cat([widened, below], 1) if below.shape[1] else widened


class _Output(Function):
    """``to_out`` of what was attended by wider heads, and the column in it.

    The weight is widened by zeros in the place of narrowing the activations: these are kept once for both
    backward passes, attention's and this one. The column's gradient has its place in theirs.
    """

    @staticmethod
    def forward(
        ctx: Any, attended: Tensor, weight: Tensor, bias: Tensor | None, zeros: Tensor
    ) -> tuple[Tensor, Tensor]:
        """B×N×H×(d + added), C×(H·d), C, C×H×added → B×N×C and B×N×H float32."""
        ctx.save_for_backward(attended, weight, zeros)
        output = linear(attended.flatten(2), _widened(weight, zeros), bias)
        # A copy: a view would keep all that was attended to.
        return output, attended[..., -zeros.shape[-1]].to(torch.float32, copy=True)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the first three."""
        (attended, weight, zeros), (output, column) = ctx.saved_tensors, grad_outputs
        rows, of_weight = output.flatten(0, 1), None
        whole = (rows @ _widened(weight, zeros)).view(attended.shape)
        whole[..., -zeros.shape[-1]].add_(column)
        if ctx.needs_input_grad[1]:  # this way round, because CPUs are slower at products of odd width
            by_head = (attended.flatten(2).flatten(0, 1).t() @ rows).view(*attended.shape[2:], -1)
            of_weight = by_head[:, : -zeros.shape[-1]].permute(2, 0, 1).reshape(weight.shape)
        return whole, of_weight, rows.sum(0) if ctx.needs_input_grad[2] else None, None


def _widened(weight: Tensor, zeros: Tensor) -> Tensor:
    """C×(H·d), C×H×added → C×(H·(d + added))."""
    return torch.cat([weight.view(*zeros.shape[:-1], -1), zeros], -1).view(len(weight), -1)


def _added_words(words: Tensor) -> int:
    """Words that B×T×… is filled up by: CPU kernels take sixteen at a time, and up to twice as long else."""
    return -words.shape[1] % 16 if words.device.type == "cpu" else 0


def _added_channels(tensor: Tensor) -> int:
    """Channels a head is widened by: fused kernels of GPUs want heads in eights, a CPU does not."""
    return 1 if tensor.device.type == "cpu" else 8
