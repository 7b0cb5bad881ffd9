"""RORem's released discriminator: the converted folder scores as the released files, put together by hand."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from data_specs.errors import InputError
from flows.cli.main import app
from models.diffusion.sdxl import read_sdxl_inpainting
from models.rorem.discriminator import load_discriminator
from models.rorem.released import convert_discriminator, softplus_calibration
from tests.published.checkpoints import released_head, rorem_discriminator, sdxl_inpainting


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rorem_discriminator(tmp_path_factory.mktemp("released") / "discriminator")


def by_hand(network, released: Path, source: torch.Tensor, mask: torch.Tensor, removal: torch.Tensor):
    """The released score: the LoRA worked into the weights, down and mid blocks, the head, softplus."""
    weights = {name.removeprefix("unet."): t for name, t in load_file(
        released / "pytorch_lora_weights.safetensors").items()}  # fmt: skip
    state = network.unet.state_dict()
    for name in {name.rsplit(".lora", 1)[0] for name in weights}:
        up, down = (weights[f"{name}.lora.{side}.weight"] for side in ("up", "down"))
        state[f"{name}.weight"] = state[f"{name}.weight"] + up @ down
    unet = type(network.unet).from_config(network.unet.config)
    unet.load_state_dict(state)
    head = released_head(32, 32)
    given = torch.load(released / "cls_pred_branch.pt", weights_only=True)
    head.load_state_dict({name.removeprefix("cls_pred_branch."): t for name, t in given.items()})
    middle: list[torch.Tensor] = []
    unet.mid_block.register_forward_hook(lambda _, __, out: middle.append(out))
    before, after = (network.vae.encode(x).latent_dist.mode() * 0.13025 for x in (source, removal))
    small = nn.functional.interpolate(mask, after.shape[-2:])
    hidden, added = network.condition(len(source), 512, 512)
    unet(torch.cat([after, small, before], 1), 0, hidden, added_cond_kwargs=added)
    return nn.functional.softplus(head(middle[0]).flatten())


@torch.no_grad()
def test_the_converted_folder_scores_as_the_release_does(released: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app,
        ["model", "convert", "discriminator", str(released), str(tmp_path / "ours")],
        catch_exceptions=False,
    )
    assert (ran.exit_code, ran.output.strip()) == (0, f"wrote {tmp_path / 'ours'}")
    network = read_sdxl_inpainting(sdxl_inpainting(tmp_path / "sdxl"))
    ours = load_discriminator(tmp_path / "ours", network)
    generator = torch.Generator().manual_seed(5)
    source, removal = (torch.rand(2, 3, 512, 512, generator=generator) * 2 - 1 for _ in range(2))
    mask = torch.zeros(2, 1, 512, 512)
    mask[..., 100:300, 50:250] = 1
    expected = by_hand(network, released, source, mask, removal)
    logits = ours.network.eval()(source, mask, removal)
    torch.testing.assert_close(nn.functional.softplus(logits), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0


def test_the_releases_thresholds_keep_their_meaning() -> None:
    slope, offset = softplus_calibration()
    for score in (0.5, 0.9):
        logit = torch.tensor(score, dtype=torch.float64).expm1().log()
        assert torch.sigmoid(slope * logit + offset).item() == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda folder: (folder / "cls_pred_branch.pt").unlink(), "No such file"),
        (
            lambda folder: (folder / "cls_pred_branch.pt").write_bytes(b"no pickle"),
            "cannot be read as a dict",
        ),
        (
            lambda folder: torch.save({"a": torch.zeros(1)}, folder / "cls_pred_branch.pt"),
            "is not RORem's head",
        ),
        (
            lambda folder: (folder / "pytorch_lora_weights.safetensors").unlink(),
            "cannot be read as safetensors",
        ),
        (
            lambda folder: save_file(
                {"conv.weight": torch.zeros(1)}, folder / "pytorch_lora_weights.safetensors"
            ),
            "conv.weight, which is no LoRA",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change, fault: str) -> None:
    folder = rorem_discriminator(tmp_path / "released")
    change(folder)
    with pytest.raises(InputError, match=fault):
        convert_discriminator(folder, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
