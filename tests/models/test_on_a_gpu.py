"""Losses on a CUDA device that torch only imagines: tensors of two devices do not meet."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from models.codec import PatchCodec
from models.discriminator import DiscriminatorConfig, DiscriminatorNetwork
from models.inpainting import InpaintingNetwork, build_tiny_network
from models.object_attention import capture_object_attention
from models.object_clear_sizes import build_tiny_image_encoder, build_tiny_object_clear
from models.training.discriminator_loss import ReviewBatch, discriminator_loss
from models.training.object_clear_loss import ForegroundBatch, ObjectClearLossConfig, object_clear_loss
from models.training.remover_loss import RemoverLossConfig, TripletBatch, remover_loss
from models.training.share import Share


@pytest.fixture(autouse=True)
def imagined() -> Iterator[None]:
    """Fake tensors know their device and hold nothing; an operation on two devices raises."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@pytest.fixture
def network() -> InpaintingNetwork:
    with torch.device("cuda"):
        return build_tiny_network(PatchCodec(8), seed=0)


def picture() -> Tensor:
    return torch.zeros(2, 3, 64, 64, device="cuda")


def mask() -> Tensor:
    return torch.zeros(2, 1, 64, 64, device="cuda")


def share() -> Share:
    return Share(torch.Generator().manual_seed(0))


def test_two_devices_do_not_meet() -> None:
    """The test's own means."""
    with pytest.raises(Exception, match="two devices"):
        picture() + picture().cpu()


def test_the_removers_loss(network: InpaintingNetwork) -> None:
    loss = remover_loss(
        network, TripletBatch(picture(), mask(), picture()), RemoverLossConfig(noisy_share=0.5), share()
    )
    assert loss.device.type == "cuda"


def test_the_judges_loss(network: InpaintingNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fake parameters cannot be moved, and LoRA's are made where they belong.
    monkeypatch.setattr(nn.Module, "to", lambda module, *_, **__: module)
    with torch.device("cuda"):
        judge = DiscriminatorNetwork(network, DiscriminatorConfig(head="pooled", head_width=16), seed=0)
    batch = ReviewBatch(picture(), mask(), picture(), torch.zeros(2, device="cuda"))
    assert discriminator_loss(judge, batch, share()).device.type == "cuda"


def test_object_clears_loss(network: InpaintingNetwork) -> None:
    with torch.device("cuda"):
        whole = build_tiny_object_clear(network, build_tiny_image_encoder(0), 0)
    batch = ForegroundBatch(picture(), mask(), picture(), mask())
    with capture_object_attention(whole.unet, whole.prompt.object_position) as maps:
        loss = object_clear_loss(whole, batch, ObjectClearLossConfig(), share(), maps)
    assert loss.device.type == "cuda"
