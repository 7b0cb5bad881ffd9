"""The object token's maps against the whole softmax, kept by a straightforward processor of our own."""

from typing import Any, cast

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from data_specs.errors import ModelError
from models.objectclear import attention as object_attention
from models.objectclear.attention import capture_object_attention, cross_attentions
from models.objectclear.network import build_full_object_clear

POSITION = 5


class KeepEverything:
    """Plain attention that keeps every map of every cross-attention: B×heads×N×T."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, count = hidden_states.shape[:2]
        query, key, value = (
            part.view(batch, -1, attn.heads, part.shape[-1] // attn.heads).transpose(1, 2)
            for part in (attn.to_q(hidden_states), attn.to_k(words), attn.to_v(words))
        )
        shares = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, -1)
        if encoder_hidden_states is not None:
            self.maps.append(shares)
        return attn.to_out[0]((shares @ value).transpose(1, 2).reshape(batch, count, -1))


def passed(unet: UNet2DConditionModel, latents: Tensor, words: int = 7) -> Tensor:
    torch.manual_seed(1)
    hidden = torch.randn(len(latents), words, 32)
    added = {"text_embeds": torch.randn(len(latents), 32), "time_ids": torch.ones(len(latents), 6)}
    return unet(latents, 300, hidden, added_cond_kwargs=added).sample


@pytest.fixture
def unet(build_object_clear) -> UNet2DConditionModel:
    return build_object_clear().unet.requires_grad_(True)


def add_lora(unet: UNet2DConditionModel, latents: Tensor) -> None:
    lora = LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False)
    plain = passed(unet, latents)
    inject_adapter_in_model(lora, unet)
    assert (passed(unet, latents) - plain).abs().max() > 1e-3, "the LoRA has a say"


@pytest.fixture(params=["cpu", "gpu"])
def widths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Heads and words widened as on either."""
    if request.param == "gpu":
        monkeypatch.setattr(object_attention, "_added_channels", lambda _: 8)
        monkeypatch.setattr(object_attention, "_added_words", lambda _: 0)
    return request.param


@pytest.mark.parametrize("words", [7, 16, 77])
@pytest.mark.parametrize("with_lora", [False, True])
@pytest.mark.usefixtures("widths")
def test_every_map_is_the_softmaxs_column(unet: UNet2DConditionModel, with_lora: bool, words: int) -> None:
    latents = torch.randn(2, 9, 16, 8)
    if with_lora:
        add_lora(unet, latents)
    with capture_object_attention(unet, POSITION) as maps:
        captured = passed(unet, latents, words)
    keeper = KeepEverything()
    unet.set_attn_processor(cast(Any, keeper))
    expected = passed(unet, latents, words)
    assert len(maps) == 7
    sizes = {tuple(kept.shape[-2:]) for kept in maps.values()}
    assert sizes == {(16, 8), (8, 4)}, "height and width are told apart"
    for (name, kept), whole in zip(maps.items(), keeper.maps, strict=True):
        torch.testing.assert_close(kept.flatten(2), whole[..., POSITION], atol=1e-5, rtol=0, msg=name)
        assert whole[..., POSITION].std() > 1e-4, "a flat map would compare nothing"
    torch.testing.assert_close(captured, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("with_lora", [False, True])
@pytest.mark.usefixtures("widths")
def test_gradients_are_the_softmaxs(unet: UNet2DConditionModel, with_lora: bool) -> None:
    latents = torch.randn(2, 9, 16, 16)
    weights = [torch.randn(2, heads, side * side) for heads, side in ((2, 16), (4, 8))]
    if with_lora:
        add_lora(unet, latents)

    def gradients(output: Tensor, columns: list[Tensor]) -> list[Tensor]:
        terms = [(c * weights[c.shape[1] == 4]).sum() for c in columns]
        loss = torch.stack(terms).sum() + 10 * output.pow(2).sum()
        parameters = [p for p in unet.parameters() if p.requires_grad]
        return [g for g in torch.autograd.grad(loss, parameters, allow_unused=True) if g is not None]

    with capture_object_attention(unet, POSITION) as maps:
        output = passed(unet, latents)
    ours = gradients(output, [kept.flatten(2) for kept in maps.values()])
    keeper = KeepEverything()
    unet.set_attn_processor(cast(Any, keeper))
    output = passed(unet, latents)
    expected = gradients(output, [whole[..., POSITION] for whole in keeper.maps])
    assert len(ours) == len(expected) > 50
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4 * float(theirs.abs().max()) + 1e-5, rtol=1e-3)
    assert max(float(g.abs().max()) for g in expected) > 1e-2


def test_checkpointing_comes_by_again_and_changes_no_map(unet: UNet2DConditionModel) -> None:
    latents = torch.randn(2, 9, 16, 16)

    def gradient() -> Tensor:
        with capture_object_attention(unet, POSITION) as maps:
            output = passed(unet, latents)
            before = dict(maps)
            loss = output.pow(2).sum() + torch.stack([(m**2).sum() for m in maps.values()]).sum()
            weight = unet.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q").weight
            (found,) = torch.autograd.grad(loss, cast(Tensor, weight))
            assert all(maps[name] is each for name, each in before.items())
        return found

    plain = gradient()
    unet.train().enable_gradient_checkpointing()
    torch.testing.assert_close(gradient(), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("widths")
def test_within_one_capture_batches_and_prompts_may_change(unet: UNet2DConditionModel) -> None:
    """What is made once for each shape is not taken for another's."""
    calls = [(3, 7), (1, 7), (1, 20), (3, 7)]
    latents = [torch.randn(count, 9, 16, 16) for count, _ in calls]
    with capture_object_attention(unet, POSITION) as maps:
        captured = [
            (passed(unet, each, words), [m.flatten(2) for m in maps.values()])
            for each, (_, words) in zip(latents, calls, strict=True)
        ]
    keeper = KeepEverything()
    unet.set_attn_processor(cast(Any, keeper))
    for each, (_, words), (output, columns) in zip(latents, calls, captured, strict=True):
        keeper.maps.clear()
        torch.testing.assert_close(output, passed(unet, each, words), atol=1e-5, rtol=1e-4)
        for column, whole in zip(columns, keeper.maps, strict=True):
            torch.testing.assert_close(column, whole[..., POSITION], atol=1e-5, rtol=0)


def test_a_word_beyond_the_prompt_is_refused(unet: UNet2DConditionModel) -> None:
    for position in (7, -1):
        with (
            pytest.raises(ModelError, match=f"the prompt has 7 tokens and no token {position}"),
            capture_object_attention(unet, position),
        ):
            passed(unet, torch.randn(1, 9, 16, 16))


def test_under_autocast_maps_and_gradients_are_near_those_in_float32(unet: UNet2DConditionModel) -> None:
    latents = torch.randn(2, 9, 16, 16)

    def captured(enabled: bool) -> tuple[list[Tensor], Tensor]:
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=enabled),
            capture_object_attention(unet, POSITION) as maps,
        ):
            output = passed(unet, latents)
        loss = output.float().pow(2).mean() + torch.stack([(m**2).sum() for m in maps.values()]).sum()
        weight = unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0").weight
        return list(maps.values()), torch.autograd.grad(loss, cast(Tensor, weight))[0]

    (exact, slope), (near, near_slope) = captured(False), captured(True)
    for one, other in zip(exact, near, strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(other, one, atol=0.01, rtol=0.05)
    assert torch.cosine_similarity(slope.flatten(), near_slope.flatten(), dim=0) > 0.99


def test_words_that_are_masked_have_no_share(unet: UNet2DConditionModel) -> None:
    latents = torch.randn(3, 9, 16, 16)
    hidden = torch.randn(3, 7, 32)
    added = {"text_embeds": torch.randn(3, 32), "time_ids": torch.ones(3, 6)}
    kept_words = torch.ones(3, 7, dtype=torch.bool)
    kept_words[0, POSITION], kept_words[1, 1], kept_words[2] = False, False, False

    def masked() -> Tensor:
        return unet(
            latents, 300, hidden, added_cond_kwargs=added, encoder_attention_mask=kept_words.float()
        ).sample

    expected = masked()
    with capture_object_attention(unet, POSITION) as maps:
        captured = masked()
    torch.testing.assert_close(captured, expected, atol=1e-5, rtol=1e-4)
    for kept in maps.values():
        assert kept[0].max() == 0, "its own word is masked"
        assert kept[1].min() > 0
        assert kept[2].mean() > 0.05, "where all are masked, words share and padding does not"


def test_a_layer_computes_as_it_was_told_to(unet: UNet2DConditionModel) -> None:
    """Its projection's own forward, as accelerate and the memory estimate replace it, and its divisor."""
    latents = torch.randn(1, 9, 16, 16)
    plain = passed(unet, latents)
    layers = [attention for _, attention in cross_attentions(unet).values()]
    layers[2].rescale_output_factor = 0.25
    divided = passed(unet, latents)
    project = cast(nn.ModuleList, layers[4].to_out)[0]
    before = project.forward
    project.forward = lambda attended: 3 * before(attended)
    expected = passed(unet, latents)
    assert (divided - plain).abs().max() > 1e-3 < (expected - divided).abs().max(), "both have a say"
    with capture_object_attention(unet, POSITION):
        torch.testing.assert_close(passed(unet, latents), expected, atol=1e-5, rtol=1e-4)


def test_each_layer_still_calls_scaled_dot_product_attention_once(unet: UNet2DConditionModel) -> None:
    latents = torch.randn(1, 9, 16, 16)

    def calls() -> int:
        with profile(activities=[ProfilerActivity.CPU]) as found:
            passed(unet, latents)
        return sum(e.count for e in found.key_averages() if e.key == "aten::scaled_dot_product_attention")

    with capture_object_attention(unet, POSITION):
        captured = calls()
    assert captured == calls() == 14


def test_only_the_first_layer_is_touched_and_given_back(unet: UNet2DConditionModel) -> None:
    latents = torch.randn(1, 9, 16, 16)
    first = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    before, processors = passed(unet, latents), unet.attn_processors
    with capture_object_attention(unet, POSITION, "first") as maps:
        during = passed(unet, latents)
        others = {name for name, each in unet.attn_processors.items() if each is processors[name]}
    assert set(processors) - others == {f"{first}.processor"}
    torch.testing.assert_close(during, before, atol=2e-6, rtol=1e-5)
    assert list(maps) == [first]
    maps.clear()
    passed(unet, latents)
    assert not maps, "outside nothing is kept"


def test_all_is_given_back_after_a_failure(unet: UNet2DConditionModel) -> None:
    processors = unet.attn_processors
    with pytest.raises(RuntimeError), capture_object_attention(unet, POSITION):
        passed(unet, torch.randn(1, 3, 16, 16))
    assert all(unet.attn_processors[name] is each for name, each in processors.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())


def test_attention_of_another_kind_is_refused(unet: UNet2DConditionModel) -> None:
    unet.set_attn_processor(AttnProcessor())
    with pytest.raises(ModelError, match="AttnProcessor2_0"), capture_object_attention(unet, POSITION):
        pass
    unet.set_attn_processor(AttnProcessor2_0())
    unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2").norm_q = nn.LayerNorm(24)
    with (
        pytest.raises(ModelError, match="mid_block.*norm_q"),
        capture_object_attention(unet, POSITION),
    ):
        pass
    assert all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values()), "nothing is left behind"


def test_it_passes_without_numbers_too(unet: UNet2DConditionModel) -> None:
    """As the memory estimate walks it: on "meta", which has no autocast, with heads as a GPU's."""
    cast(Any, unet).to("meta")
    with torch.device("meta"), capture_object_attention(unet, POSITION) as maps:
        assert passed(unet, torch.empty(2, 9, 16, 8)).shape == (2, 4, 16, 8)
    assert {tuple(kept.shape) for kept in maps.values()} == {(2, 2, 16, 8), (2, 4, 8, 4)}


def test_at_full_size_the_layers_are_the_papers() -> None:
    """Fact 17: down_blocks 1–2, mid, up_blocks 0–1."""
    names = list(cross_attentions(build_full_object_clear().unet))
    blocks = [".".join(n.split(".")[:2]) if n[0] != "m" else "mid_block" for n in names]
    counts = {block: blocks.count(block) for block in dict.fromkeys(blocks)}
    assert counts == {
        "down_blocks.1": 4,
        "down_blocks.2": 20,
        "mid_block": 10,
        "up_blocks.0": 30,
        "up_blocks.1": 6,
    }
    assert names[0] == "down_blocks.1.attentions.0.transformer_blocks.0.attn2"


def test_a_network_without_words_is_refused() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        norm_num_groups=4,
    )
    with pytest.raises(ModelError, match="no cross-attention"), capture_object_attention(unet, POSITION):
        pass
