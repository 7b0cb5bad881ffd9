"""The sampler against diffusers' own SDXL inpainting pipeline, and what names a remover."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from pydantic import ValidationError

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import derive_key
from models.diffusion.inpainting import InpaintingNetwork, load_network
from models.diffusion.tiny_vae import PatchCodec
from models.rorem.remover import InpaintingRemover, SamplingConfig

SEEDS = [11, 12]
ROOT = Path(__file__).resolve().parents[3]


class NoiselessCodec(PatchCodec):
    """Hands the pipeline plain latents: sampling a distribution would use up the noise's generator."""

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        (distribution,) = super().encode(x, return_dict=False)
        return SimpleNamespace(latents=distribution.mode())


def by_pipeline(
    network: InpaintingNetwork, sources: list[RgbImage], masks: list[Mask], sampling: SamplingConfig
) -> np.ndarray:
    """What diffusers makes of it: B×3×H×W, [0, 1]."""
    codec = NoiselessCodec(**{k: v for k, v in network.vae.config.items() if not k.startswith("_")})
    codec.load_state_dict(network.vae.state_dict())
    parts: dict[str, Any] = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = StableDiffusionXLInpaintPipeline(
        **parts,
        vae=cast(Any, codec),
        unet=network.unet,
        scheduler=cast(Any, network.scheduler),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    count = len(sources)
    found = pipeline(
        image=torch.from_numpy(np.stack(sources)).permute(0, 3, 1, 2).float() / 255,
        mask_image=torch.from_numpy(np.stack(masks)[:, None]).float(),
        height=32,
        width=32,
        strength=sampling.strength,
        num_inference_steps=sampling.steps,
        guidance_scale=1.0,
        prompt_embeds=network.prompt.hidden.expand(count, -1, -1),
        pooled_prompt_embeds=network.prompt.pooled.expand(count, -1),
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="pt",
    )
    return cast(Any, found).images.numpy()


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
@pytest.mark.parametrize(("steps", "strength"), [(4, 1.0), (50, 0.99), (7, 0.6)])
def test_removal_is_the_librarys_own(
    build_network, images, boxes, prediction_type: str, steps: int, strength: float
) -> None:
    network = build_network(prediction_type=prediction_type)
    sampling = SamplingConfig(steps=steps, strength=strength)
    sources, masks = images(2, 1), boxes(2)
    expected = by_pipeline(network, sources, masks, sampling)
    source = torch.from_numpy(np.stack(sources)).permute(0, 3, 1, 2) / 127.5 - 1
    mask = torch.from_numpy(np.stack(masks)[:, None]).float()
    ours = InpaintingRemover(network, sampling).sample(source, mask, SEEDS)
    np.testing.assert_allclose((ours / 2 + 0.5).clamp(0, 1).numpy(), expected, atol=1e-4)
    assert expected.std() > 0.05, "a flat image would compare nothing"


def test_images_come_out_as_sampled_whatever_the_batch(build_network, images, boxes) -> None:
    network, sources, masks = build_network(8), images(5, 2), boxes(5)
    remove = InpaintingRemover(network, SamplingConfig(batch_size=2)).remove
    removals = remove(sources, masks, range(5))
    source = torch.from_numpy(np.stack(sources)).permute(0, 3, 1, 2) / 127.5 - 1
    whole = InpaintingRemover(network, SamplingConfig()).sample(
        source, torch.from_numpy(np.stack(masks)[:, None]).float(), list(range(5))
    )
    expected = np.clip(np.round((whole.numpy() + 1) * 127.5), 0, 255).transpose(0, 2, 3, 1)
    assert [r.dtype for r in removals] == [np.uint8] * 5
    np.testing.assert_allclose(np.stack(removals), expected, atol=1.01, rtol=0)


def test_images_of_two_sizes_come_out_in_their_order_each_as_among_its_own(
    build_network, images, boxes
) -> None:
    sources, masks = images(4, 2), boxes(4)
    for place in (1, 3):
        sources[place], masks[place] = (
            np.tile(each[place], (2, 2, 1)[: each[place].ndim]) for each in (sources, masks)
        )
    remove = InpaintingRemover(build_network(8), SamplingConfig(steps=2, batch_size=3)).remove
    removals = remove(sources, masks, range(4))
    for places in ((0, 2), (1, 3)):
        own = remove([sources[p] for p in places], [masks[p] for p in places], places)
        assert all(np.array_equal(removals[p], alone) for p, alone in zip(places, own, strict=True))


def test_one_seed_one_removal(build_network, images, boxes) -> None:
    remover = InpaintingRemover(build_network(8), SamplingConfig(steps=2))
    first, again, other = (remover.remove(images(1, 3), boxes(1), [seed])[0] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_source_inside_the_mask_is_not_looked_at_from_pure_noise(build_network, images, boxes) -> None:
    sources, masks = images(1, 3), boxes(1)
    repainted = [np.where(masks[0][..., None], np.uint8(255), sources[0])]
    network = build_network(8)

    def removal(strength: float, source: list[RgbImage]) -> RgbImage:
        sampling = SamplingConfig(steps=2, strength=strength)
        return InpaintingRemover(network, sampling).remove(source, masks, [1])[0]

    assert np.array_equal(removal(1.0, sources), removal(1.0, repainted))
    assert not np.array_equal(removal(0.6, sources), removal(0.6, repainted)), "a trace of the source is left"


def test_the_hash_names_weights_prompt_schedule_and_sampling(build_network) -> None:
    def hash_of(
        change: Callable[[InpaintingNetwork], object] = id, sampling: SamplingConfig | None = None, **what
    ) -> str:
        network = build_network(**what)
        with torch.no_grad():
            change(network)
        return InpaintingRemover(network, sampling or SamplingConfig()).model_hash

    hashes = [
        hash_of(),
        hash_of(seed=1),
        hash_of(lambda n: n.unet.get_parameter("conv_out.bias")[0].add_(1e-6)),
        hash_of(lambda n: n.vae.mean[0].add_(1e-6)),
        hash_of(lambda n: n.prompt.pooled[0, 0].add_(1e-6)),
        hash_of(prediction_type="epsilon"),
        hash_of(sampling=SamplingConfig(steps=5)),
        hash_of(sampling=SamplingConfig(strength=0.99)),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hash_of() == hashes[0]
    assert hash_of(sampling=SamplingConfig(batch_size=1)) == hashes[0], "the batch size changes no removal"


def test_the_hash_is_the_same_in_every_process_and_folder(build_network, tmp_path: Path) -> None:
    """Candidates' keys and noise follow from it, so it must not know where or when it was taken."""
    network = build_network()
    expected = InpaintingRemover(network, SamplingConfig()).model_hash
    for place in ("here", "there"):
        network.save(tmp_path / place)
        loaded = load_network(tmp_path / place)
        assert InpaintingRemover(loaded, SamplingConfig()).model_hash == expected
    script = (
        "import sys; from pathlib import Path; from models.diffusion.inpainting import load_network; "
        "from models.rorem.remover import *; "
        "print(InpaintingRemover(load_network(Path(sys.argv[1])), SamplingConfig()).model_hash)"
    )
    environment = {"PYTHONHASHSEED": "17", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "here"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert result.stdout.strip() == expected


def test_a_strength_that_leaves_no_step_is_refused() -> None:
    with pytest.raises(ValidationError, match="strength"):
        SamplingConfig(steps=4, strength=0.2)
    SamplingConfig(steps=4, strength=0.25)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_the_u_nets_alone_and_close(build_network, images, boxes, precision: str) -> None:
    network = build_network(8)
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    network.unet.conv_in.register_forward_hook(lambda _, given, out: seen.append((given[0].dtype, out.dtype)))
    decoded: list[torch.dtype] = []
    decode = network.vae.decode
    network.vae.decode = lambda z: (decoded.append(z.dtype), decode(z))[1]
    sampling = SamplingConfig.model_validate({"steps": 3, "precision": precision})
    half = InpaintingRemover(network, sampling).remove(images(2, 1), boxes(2), [1, 2])
    assert set(seen) == {(torch.float32, getattr(torch, precision))}
    assert decoded == [torch.float32]
    whole = InpaintingRemover(network, SamplingConfig(steps=3)).remove(images(2, 1), boxes(2), [1, 2])
    apart = np.abs(np.stack(half).astype(int) - np.stack(whole))
    assert 0 < apart.max() < 12
    assert apart.mean() < 1


def test_the_precision_changes_no_record_from_before(build_network) -> None:
    assert SamplingConfig().model_dump_json() == '{"steps":4,"strength":1.0,"batch_size":32}'
    network = build_network()
    before, half = (
        InpaintingRemover(network, SamplingConfig.model_validate({"precision": precision})).model_hash
        for precision in ("float32", "bfloat16")
    )
    assert before == derive_key("remover", network.fingerprint(), "4 1.0")
    assert half != before
    stored = SamplingConfig(precision="bfloat16").model_dump_json()
    assert SamplingConfig.model_validate_json(stored).precision == "bfloat16"


def test_an_oblong_image_is_conditioned_on_its_height_and_width(build_network) -> None:
    network = build_network()
    seen: list[list[float]] = []
    network.unet.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["added_cond_kwargs"]["time_ids"][0].tolist()),
        with_kwargs=True,
    )
    InpaintingRemover(network, SamplingConfig(steps=1)).sample(
        torch.zeros(1, 3, 32, 48), torch.ones(1, 1, 32, 48), [1]
    )
    assert seen == [[32, 48, 0, 0, 32, 48]]
