"""The LoRA that distillation leaves: diffusers reads it, and the remover made of it is the same network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data_specs.errors import ModelError
from models.diffusion.inpainting import InpaintingNetwork, load_network
from models.objectclear.network import build_full_object_clear
from models.rorem.lcm_lora import LORA_FILE, LcmLoraConfig, save_lora, student_of, with_lcm_lora
from models.rorem.remover import InpaintingRemover, SamplingConfig

ROOT = Path(__file__).resolve().parents[3]
IN_DIFFUSERS = """
import sys
from types import SimpleNamespace
import numpy as np
import torch
from diffusers import LCMScheduler, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
from models.diffusion.tiny_vae import PatchCodec

folder, lora = sys.argv[1:3]


class NoiselessCodec(PatchCodec):
    def encode(self, x, return_dict=True):
        (distribution,) = super().encode(x, return_dict=False)
        return SimpleNamespace(latents=distribution.mode())


parts = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
pipe = StableDiffusionXLInpaintPipeline(
    **parts,
    vae=NoiselessCodec.from_pretrained(folder + "/vae"),
    unet=UNet2DConditionModel.from_pretrained(folder + "/unet"),
    scheduler=LCMScheduler.from_pretrained(folder + "/scheduler"),
    add_watermarker=False,
)
pipe.load_lora_weights(lora, weight_name="pytorch_lora_weights.safetensors")
pipe.set_progress_bar_config(disable=True)
given = np.load(folder + "/given.npz")
found = pipe(
    image=torch.from_numpy(given["sources"]).permute(0, 3, 1, 2).float() / 255,
    mask_image=torch.from_numpy(given["masks"][:, None]).float(),
    height=32,
    width=32,
    strength=1.0,
    num_inference_steps=4,
    guidance_scale=1.0,
    prompt_embeds=torch.from_numpy(given["hidden"]),
    pooled_prompt_embeds=torch.from_numpy(given["pooled"]),
    generator=[torch.Generator().manual_seed(seed) for seed in (11, 12)],
    output_type="pt",
).images
np.save(folder + "/found.npy", found.numpy())
"""


def trained_student(network: InpaintingNetwork, rank: int = 4) -> Any:
    """A student whose every LoRA layer does something."""
    student = student_of(network.unet, LcmLoraConfig(rank=rank), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return student


def test_a_student_begins_as_its_teacher_and_shares_its_weights(build_network) -> None:
    network = build_network()
    student = student_of(network.unet, LcmLoraConfig(rank=4), seed=0)
    hidden, added = network.condition(2, 32, 32)
    inputs = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (
            u(inputs, 500, hidden, added_cond_kwargs=added).sample for u in (student, network.unet)
        )
    assert torch.equal(ours, theirs)
    places = {p.data_ptr() for p in network.unet.parameters()}
    apart = [n for n, p in student.named_parameters() if p.data_ptr() not in places]
    assert all(".lora_" in name for name in apart), "only the LoRA takes memory"
    assert not any(".lora_" in name for name, _ in network.unet.named_parameters())


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon"])
def test_diffusers_loads_it_in_another_process_and_removes_alike(
    build_network, images, boxes, tmp_path: Path, prediction_type: str
) -> None:
    network = build_network(prediction_type=prediction_type)
    save_lora(trained_student(network), tmp_path / "lora")
    few = with_lcm_lora(network, tmp_path / "lora")
    sources, masks = images(2, 1), boxes(2)
    sampling = SamplingConfig(steps=4)
    source = torch.from_numpy(np.stack(sources)).permute(0, 3, 1, 2) / 127.5 - 1
    mask = torch.from_numpy(np.stack(masks)[:, None]).float()
    ours = InpaintingRemover(few, sampling).sample(source, mask, [11, 12])

    network.unet.save_pretrained(tmp_path / "unet")
    network.vae.save_pretrained(tmp_path / "vae")
    few.scheduler.save_pretrained(tmp_path / "scheduler")
    np.savez(
        tmp_path / "given.npz",
        sources=np.stack(sources),
        masks=np.stack(masks),
        hidden=network.prompt.hidden.expand(2, -1, -1).numpy(),
        pooled=network.prompt.pooled.expand(2, -1).numpy(),
    )
    command = [sys.executable, "-c", IN_DIFFUSERS, str(tmp_path), str(tmp_path / "lora")]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-2000:]
    expected = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose((ours / 2 + 0.5).clamp(0, 1).numpy(), expected, atol=2e-4)
    without = InpaintingRemover(network, sampling).sample(source, mask, [11, 12])
    assert (without - ours).abs().mean() > 0.01, "a LoRA that does nothing would compare nothing"


def test_every_lora_layer_is_written(build_network, tmp_path: Path) -> None:
    student = trained_student(build_network())
    save_lora(student, tmp_path)
    with safe_open(tmp_path / LORA_FILE, "pt") as file:
        names = set(file.keys())
    layers = {n for n, _ in student.named_parameters() if ".lora_" in n}
    assert {n.removeprefix("unet.") for n in names} == {n.replace(".lcm.", ".") for n in layers}
    kinds = ("to_q", "to_out.0", "ff.net.2", "conv1", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv")
    assert all(any(f"{kind}.lora_A" in name for name in names) for kind in kinds)


def test_kept_whole_it_needs_no_lora_and_is_known_by_its_hash(build_network, images, boxes, tmp_path) -> None:
    network = build_network()
    save_lora(trained_student(network), tmp_path / "lora")
    few = with_lcm_lora(network, tmp_path / "lora")
    few.save(tmp_path / "kept")
    kept = load_network(tmp_path / "kept")
    ours, theirs = (InpaintingRemover(n, SamplingConfig()) for n in (few, kept))
    assert ours.model_hash == theirs.model_hash != InpaintingRemover(network, SamplingConfig()).model_hash
    for one, other in zip(
        *(remover.remove(images(2, 1), boxes(2), [1, 2]) for remover in (ours, theirs)), strict=True
    ):
        # Equal weights at other addresses may be summed in another order.
        assert np.abs(one.astype(int) - other).max() <= 1
    settings = json.loads((tmp_path / "kept" / "scheduler" / "scheduler_config.json").read_text())
    assert settings["_class_name"] == "LCMScheduler"


def test_fresh_noise_between_steps_is_the_images_own(build_network, images, boxes, tmp_path) -> None:
    """LCM draws noise at each step: an image's is its seed's, whatever lies beside it in the batch."""
    network = build_network()
    save_lora(trained_student(network), tmp_path)
    remover = InpaintingRemover(with_lcm_lora(network, tmp_path), SamplingConfig())
    sources, masks = images(2, 1), boxes(2)
    together = remover.remove(sources, masks, [1, 2])
    swapped = remover.remove(sources[::-1], masks[::-1], [2, 1])[::-1]
    other = remover.remove(sources, masks, [1, 3])
    assert np.abs(together[0].astype(int) - swapped[0]).max() <= 1
    assert np.abs(together[1].astype(int) - swapped[1]).max() <= 1
    assert not np.array_equal(together[1], other[1])


def test_what_is_no_lora_of_this_network_is_refused(build_network, tmp_path: Path) -> None:
    network = build_network()
    with pytest.raises(ModelError, match="holds no LoRA; run `cleanplate train distilled`"):
        with_lcm_lora(network, tmp_path)
    (tmp_path / LORA_FILE).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!")
    with pytest.raises(ModelError, match="this LoRA is of another network"):
        with_lcm_lora(network, tmp_path)
    save_lora(trained_student(network), tmp_path)
    layers = load_file(tmp_path / LORA_FILE)
    name = next(name for name in layers if "lora_B" in name)
    others = [
        {**layers, name: layers[name][:-1].contiguous()},
        {each.replace("mid_block", "middle"): tensor for each, tensor in layers.items()},
        {each.removeprefix("unet."): tensor for each, tensor in layers.items()},
    ]
    for other in others:
        save_file(other, tmp_path / LORA_FILE)
        with pytest.raises(ModelError, match="this LoRA is of another network"):
            with_lcm_lora(network, tmp_path)


def test_the_full_size_gets_the_lora_that_is_published_for_sdxl() -> None:
    """The public LCM-LoRA for SDXL: 788 layers, 394 MB in half precision; here on "meta"."""
    with torch.device("meta"):
        student = student_of(build_full_object_clear().unet, LcmLoraConfig(), seed=0)
    trained = {n: p for n, p in student.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 788
    assert sum(p.numel() for p in trained.values()) == pytest.approx(394e6 / 2, rel=2e-3)
