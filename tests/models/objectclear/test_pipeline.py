"""The pipeline against diffusers' own, its inputs and outputs in every form, and images of any size."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.callbacks import PipelineCallback
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image

from data_specs.errors import InputError, ModelError
from models.objectclear.network import ObjectClearNetwork, build_tiny_image_encoder, build_tiny_object_clear
from models.objectclear.pipeline import ObjectClearPipeline, denoise
from models.objectclear.pipeline_io import ObjectClearOutput
from models.objectclear.remover import ObjectClearRemover

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def network(build_network) -> ObjectClearNetwork:
    """Untrained, with the 9 inputs that diffusers' pipeline wants, and attention that matters."""
    network = build_tiny_object_clear(build_network(4), build_tiny_image_encoder(1), 2)
    with torch.no_grad():
        for name, weights in network.unet.named_parameters():
            if ".proj_out." in name:
                weights.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    return network


@pytest.fixture
def pipeline(network: ObjectClearNetwork) -> ObjectClearPipeline:
    pipeline = ObjectClearPipeline.of_network(network, num_inference_steps=2)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def scene(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A grainy image and a box somewhere in it."""
    source = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), bool)
    mask[height // 3 : height // 3 + 12, width // 4 : width // 4 + 15] = True
    return source, mask


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arrays(output: ObjectClearOutput | tuple) -> np.ndarray:
    assert isinstance(output, ObjectClearOutput)
    return output.images


def unchanged(number: int, step: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    return latents


class PlainCodec:
    """Hands diffusers' pipeline plain latents, so that encoding draws no noise."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self.config, self.dtype = codec.config, codec.dtype

    def encode(self, x: torch.Tensor) -> Any:
        return SimpleNamespace(latents=self._codec.encode(x).latent_dist.mode())

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> Any:
        return self._codec.decode(z, return_dict)


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
def test_the_loop_is_the_librarys_own_with_the_full_image_in(
    network: ObjectClearNetwork, guidance_scale: float
) -> None:
    """diffusers' SDXL inpainting, given the full image's latents where it wants the masked image's."""
    (first, mask), (second, _) = scene(64, 96, 1), scene(64, 96, 2)
    source = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2) / 127.5 - 1
    masks = torch.from_numpy(np.stack([mask, np.roll(mask, 9)])[:, None]).float()
    hidden, added = network.condition(source, masks)
    parts: dict[str, Any] = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    theirs = StableDiffusionXLInpaintPipeline(
        **parts,
        vae=network.vae,
        unet=network.unet,
        scheduler=cast(Any, network.scheduler),
        add_watermarker=False,
    )
    object.__setattr__(theirs, "vae", PlainCodec(network.vae))
    theirs.set_progress_bar_config(disable=True)
    output = theirs(
        image=source / 2 + 0.5,
        mask_image=masks,
        masked_image_latents=network.vae.encode(source).latent_dist.mode(),
        height=64,
        width=96,
        strength=1.0,
        num_inference_steps=5,
        guidance_scale=guidance_scale,
        prompt_embeds=hidden,
        pooled_prompt_embeds=added["text_embeds"],
        negative_prompt_embeds=torch.zeros_like(hidden),
        negative_pooled_prompt_embeds=torch.zeros_like(added["text_embeds"]),
        generator=[seeded(1), seeded(2)],
        output_type="pt",
    )
    expected = cast(Any, output).images.numpy()
    noise = torch.cat([torch.randn((1, 4, 16, 24), generator=seeded(seed)) for seed in (1, 2)])
    found, attention = denoise(network, source, masks, noise, 5, guidance_scale, unchanged)
    np.testing.assert_allclose((found / 2 + 0.5).clamp(0, 1).numpy(), expected, atol=1e-4)
    assert expected.std() > 0.05, "a flat image would compare nothing"
    assert attention.shape[0] == 2
    assert attention.shape[-2:] == (16, 24)


def test_the_attention_is_the_conditional_half(network: ObjectClearNetwork) -> None:
    """At one step from the same noise, guidance changes nothing that the conditional half attends to."""
    source = torch.rand((2, 3, 64, 64), generator=seeded(3)) * 2 - 1
    masks = torch.zeros((2, 1, 64, 64))
    masks[:, :, 20:40, 10:30] = 1
    noise = torch.randn((2, 4, 16, 16), generator=seeded(4))
    plain, guided = (denoise(network, source, masks, noise, 1, scale, unchanged)[1] for scale in (1.0, 3.0))
    torch.testing.assert_close(plain, guided, atol=1e-5, rtol=1e-4)
    assert plain.std() > 1e-4


@pytest.mark.parametrize("size", [(64, 64), (50, 83), (70, 600), (1500, 2000), (17, 40)])
def test_any_size_comes_back_at_its_size_and_the_rest_to_the_bit(
    pipeline: ObjectClearPipeline, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, mask = scene(*size)
    # An untrained network attends everywhere; the map of a trained one is stood in for by none.
    monkeypatch.setattr(
        "models.objectclear.pipeline.attended_region", lambda attention, h, w: np.zeros((h, w), bool)
    )
    removal = arrays(pipeline(source, mask, generator=seeded(), output_type="uint8"))[0]
    assert removal.shape == source.shape
    rows, columns = np.mgrid[: size[0], : size[1]]
    far = (np.abs(rows - size[0] // 3 - 6) > 30) | (np.abs(columns - size[1] // 4 - 7) > 30)
    np.testing.assert_array_equal(removal[far], source[far])
    assert (removal != source)[mask].mean() > 0.9


def test_batches_generators_and_every_form_of_image_agree(pipeline: ObjectClearPipeline) -> None:
    scenes = [scene(50, 60, 1), scene(50, 60, 2)]
    sources, masks = np.stack([s for s, _ in scenes]), np.stack([m for _, m in scenes])
    seeds = [seeded(5), seeded(6)]
    expected = arrays(pipeline(sources, masks, generator=seeds, output_type="np"))
    assert expected.shape == (2, 50, 60, 3)
    alone = arrays(pipeline(sources[1], masks[1], generator=seeded(6), output_type="np"))
    np.testing.assert_allclose(alone[0], expected[1], atol=1.01 / 255)
    tensors = torch.from_numpy(sources).permute(0, 3, 1, 2).float() / 255
    forms: list[tuple[Any, Any]] = [
        (list(sources), list(masks)),
        ([Image.fromarray(s) for s in sources], [Image.fromarray(m) for m in masks]),
        (tensors, torch.from_numpy(masks)[:, None].float()),
        (tensors, torch.from_numpy(masks)),
        (sources.astype(np.float32) / 255, masks.astype(np.uint8)[..., None] * 255),
    ]
    for image, mask in forms:
        again = arrays(pipeline(image, mask, generator=[seeded(5), seeded(6)], output_type="np"))
        np.testing.assert_array_equal(again, expected)
    one_for_all = arrays(pipeline(sources, masks, generator=seeded(5), output_type="np"))
    np.testing.assert_allclose(one_for_all[0], expected[0], atol=1.01 / 255)
    assert np.abs(one_for_all[1] - expected[1]).max() > 0.05
    as_pt = arrays(pipeline(sources, masks, generator=[seeded(5), seeded(6)], output_type="pt"))
    np.testing.assert_array_equal(np.asarray(as_pt).transpose(0, 2, 3, 1), expected)
    images, attention = cast(
        tuple, pipeline(sources, masks, generator=[seeded(5), seeded(6)], return_dict=False)
    )
    np.testing.assert_array_equal(np.asarray(images[1]), (expected[1] * 255).round().astype(np.uint8))
    assert [each.shape for each in attention] == [(50, 60)] * 2


def test_images_of_several_sizes_share_no_noise(pipeline: ObjectClearPipeline) -> None:
    scenes = [scene(50, 60, 1), scene(64, 300, 2), scene(50, 60, 3)]
    together = arrays(
        pipeline([s for s, _ in scenes], [m for _, m in scenes], generator=seeded(1), output_type="uint8")
    )
    one_by_one = seeded(1)
    for (source, mask), found in zip(scenes, together, strict=True):
        alone = arrays(pipeline(source, mask, generator=one_by_one, output_type="uint8"))[0]
        np.testing.assert_allclose(found.astype(int), alone, atol=1)


def test_the_papers_form_reaches_as_far_as_the_network_looked(pipeline: ObjectClearPipeline) -> None:
    source, mask = scene(64, 300)
    removals = {
        form: arrays(pipeline(source, mask, generator=seeded(), output_type="uint8", fusion_form=form))[0]
        for form in ("banded", "paper")
    }
    changed = {form: (removal != source).any(axis=2) for form, removal in removals.items()}
    assert changed["paper"].sum() >= changed["banded"].sum()
    assert not changed["paper"][:, 170:].any(), "its window ends before"


class LastStep(PipelineCallback):
    """Empties the latents at the last step, as diffusers' own callbacks change them."""

    @property
    def tensor_inputs(self) -> list[str]:
        return ["latents"]

    def callback_fn(self, pipeline: Any, step_index: int, timesteps: Any, callback_kwargs: dict) -> dict:
        if step_index == 1:
            callback_kwargs["latents"] = torch.zeros_like(callback_kwargs["latents"])
        return callback_kwargs


def test_callbacks_see_and_change_the_latents(pipeline: ObjectClearPipeline) -> None:
    source, mask = scene(64, 64)
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def look(pipe: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        assert pipe is pipeline
        seen.append((step, int(timestep), tuple(tensors["latents"].shape)))
        return tensors

    plain = arrays(pipeline(source, mask, generator=seeded(), output_type="uint8", callback_on_step_end=look))
    assert seen == [(0, 999, (1, 4, 16, 16)), (1, 499, (1, 4, 16, 16))]
    emptied = arrays(
        pipeline(
            source,
            mask,
            generator=seeded(),
            output_type="uint8",
            callback_on_step_end=LastStep(),
            attention_guided_fusion=False,
        )
    )[0]
    flat = pipeline.vae.decode(torch.zeros((1, 4, 16, 16))).sample[0]
    np.testing.assert_allclose(
        emptied, ((flat.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).detach().numpy(), atol=1
    )
    assert not np.array_equal(plain[0], emptied)
    with pytest.raises(InputError, match="unknown: noise"):
        pipeline(source, mask, callback_on_step_end=look, callback_on_step_end_tensor_inputs=["noise"])


def test_guidance_of_one_runs_one_pass_and_more_run_two(pipeline: ObjectClearPipeline) -> None:
    source, mask = scene(64, 64)
    batches: list[int] = []
    handle = pipeline.unet.register_forward_pre_hook(lambda m, inputs: batches.append(len(inputs[0])))
    for scale in (1.0, 2.5, None):
        pipeline(source, mask, guidance_scale=scale)
    handle.remove()
    assert batches == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"mask_image": np.zeros((64, 64), bool)}, "a mask is empty"),
        ({"mask_image": np.ones((64, 65), bool)}, r"a mask of \(64, 65\)"),
        ({"mask_image": [np.ones((64, 64), bool)] * 2}, "2 masks for 1 images"),
        ({"image": np.zeros((64, 64), np.float32)}, "not an image of 3 channels"),
        ({"image": np.full((64, 64, 3), 9.0)}, "to 0..1"),
        ({"image": Image.new("RGBA", (64, 64))}, "transparent"),
        ({"height": 64}, "give both"),
        ({"height": 64, "width": 50}, "multiples of 16"),
        ({"generator": [seeded(), seeded()]}, "2 generators for 1 images"),
        ({"output_type": "latent"}, "choose pil"),
    ],
)
def test_bad_input_is_one_sentence(pipeline: ObjectClearPipeline, change: dict[str, Any], fault: str) -> None:
    source, mask = scene(64, 64)
    with pytest.raises(InputError, match=fault):
        pipeline(**{"image": source, "mask_image": mask, **change})


def test_a_saved_pipeline_is_the_same_in_a_fresh_process(
    pipeline: ObjectClearPipeline, tmp_path: Path
) -> None:
    source, mask = scene(50, 60)
    before = ObjectClearRemover(pipeline).remove([source], [mask], [7])[0]
    pipeline.save_pretrained(tmp_path / "pipeline")
    np.savez(tmp_path / "scene.npz", source=source, mask=mask)
    script = (
        "import sys; import numpy as np\n"
        "from models.objectclear.pipeline import ObjectClearPipeline\n"
        "from models.objectclear.remover import ObjectClearRemover\n"
        "scene = np.load(sys.argv[1] + '/scene.npz')\n"
        "remover = ObjectClearRemover(ObjectClearPipeline.from_pretrained(sys.argv[1] + '/pipeline'))\n"
        "np.save(sys.argv[1] + '/removal.npy', remover.remove([scene['source']], [scene['mask']], [7])[0])\n"
        "print(remover.model_hash)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = ObjectClearPipeline.from_pretrained(tmp_path / "pipeline")
    here = ObjectClearRemover(loaded).remove([source], [mask], [7])[0]
    np.testing.assert_array_equal(np.load(tmp_path / "removal.npy"), here)
    # Loaded weights lie elsewhere in memory, so sums may round another way than before they were saved.
    np.testing.assert_allclose(here.astype(int), before, atol=1)
    assert shown.stdout.strip() == ObjectClearRemover(pipeline).model_hash
    assert not [each for each in (tmp_path / "pipeline").rglob("*") if each.suffix in {".bin", ".pt", ".pkl"}]
    assert (loaded.config["num_inference_steps"], loaded.config["guidance_scale"]) == (2, 2.5)
    (tmp_path / "pipeline" / "model_index.json").unlink()
    assert ObjectClearPipeline.from_pretrained(tmp_path / "pipeline").config["num_inference_steps"] == 20
    with pytest.raises(ModelError, match="cannot be used as an ObjectClear network"):
        ObjectClearPipeline.from_pretrained(tmp_path)


def test_the_remover_attends_and_its_hash_names_steps_and_guidance(pipeline: ObjectClearPipeline) -> None:
    source, mask = scene(60, 200)
    remover = ObjectClearRemover(pipeline)
    removal, attention = remover.remove_attending(source, mask, 3)
    np.testing.assert_array_equal(removal, remover.remove([source], [mask], [3])[0])
    assert attention.shape == (60, 200)
    assert attention.min() >= 0
    assert 0.5 < attention.max() <= 1
    assert not attention[:, 150:].any(), "it did not look there"
    unguided = ObjectClearPipeline.of_network(pipeline.network, num_inference_steps=2, guidance_scale=1.0)
    others = [ObjectClearRemover(pipeline, steps=3), ObjectClearRemover(unguided)]
    assert len({each.model_hash for each in [remover, *others]}) == 3
    assert ObjectClearRemover(pipeline, steps=2).model_hash == remover.model_hash


def test_the_released_blend_keeps_the_image_outside_each_mask_after_the_first_step(
    network: ObjectClearNetwork,
) -> None:
    """Outside the mask: the image's latents with the first noise, at the second timestep. Later: nothing."""
    (first, mask), (second, _) = scene(64, 64, 1), scene(64, 64, 2)
    source = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2) / 127.5 - 1
    masks = torch.from_numpy(np.stack([mask, np.roll(mask, 9)])[:, None]).float()
    noise = torch.randn(2, 4, 16, 16, generator=seeded(3))

    def steps_of(steps: int, blend_first_step: bool = False) -> list[torch.Tensor]:
        latents: list[torch.Tensor] = []

        def noted(number: int, step: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
            latents.append(now.clone())
            return now

        denoise(network, source, masks, noise, steps, 1.0, noted, blend_first_step)
        return latents

    plain, blended = steps_of(4), steps_of(4, blend_first_step=True)
    timestep = int(network.scheduler.timesteps[1])
    kept = float(network.scheduler.alphas_cumprod[timestep])
    clean = network.vae.encode(source).latent_dist.mode() * network.vae.config["scaling_factor"]
    expected = kept**0.5 * clean + (1 - kept) ** 0.5 * noise
    inside = (masks[..., ::4, ::4] > 0).expand(-1, 4, -1, -1)
    torch.testing.assert_close(blended[0][~inside], expected[~inside])
    assert torch.equal(blended[0][inside], plain[0][inside])
    assert inside.any()
    assert not torch.equal(inside[0], inside[1]), "each image has its own mask"
    assert not torch.equal(blended[3], plain[3])
    assert torch.equal(steps_of(1, blend_first_step=True)[0], steps_of(1)[0]), "there is no next timestep"


def test_the_blend_is_off_unless_asked_for(pipeline: ObjectClearPipeline) -> None:
    source, mask = scene(48, 64)
    ways: list[dict[str, Any]] = [{}, {"blend_first_step": False}, {"blend_first_step": True}]
    plain, off, on = (
        arrays(pipeline(source, mask, generator=seeded(), output_type="np", **options)) for options in ways
    )
    assert np.array_equal(plain, off)
    assert not np.array_equal(plain, on)
