"""Small untrained networks and soft images for the tests of the models."""

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from data_specs.arrays import Mask, RgbImage
from models.diffusion.inpainting import InpaintingNetwork, build_tiny_network
from models.diffusion.tiny_vae import PatchCodec
from models.objectclear.network import ObjectClearNetwork, build_tiny_image_encoder, build_tiny_object_clear

SIDE = 32

NetworkBuilder = Callable[..., InpaintingNetwork]


@pytest.fixture
def images() -> Callable[[int, int], list[RgbImage]]:
    """(count, seed) → soft images of 32×32."""

    def draw(count: int, seed: int) -> list[RgbImage]:
        noise = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), np.uint8)
        return [np.asarray(cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)) for each in noise]

    return draw


@pytest.fixture
def boxes() -> Callable[[int], list[Mask]]:
    """(count) → masks of one box each, not aligned with the codec's patches."""

    def draw(count: int) -> list[Mask]:
        masks = np.zeros((count, SIDE, SIDE), bool)
        for number, mask in enumerate(masks):
            mask[6 + number : 19 + number, 5 : 18 + number] = True
        return list(masks)

    return draw


@pytest.fixture
def build_network(images: Callable[[int, int], list[RgbImage]]) -> NetworkBuilder:
    """(latent_channels, prediction_type, seed) → an untrained network with 2k + 1 input channels."""

    def build(latent_channels: int = 4, prediction_type: str = "sample", seed: int = 0) -> InpaintingNetwork:
        training = torch.from_numpy(np.stack(images(40, 99))).permute(0, 3, 1, 2) / 127.5 - 1
        network = build_tiny_network(PatchCodec(latent_channels=latent_channels).fit(training), seed)
        settings = {**network.scheduler.config, "prediction_type": prediction_type}
        network.scheduler = cast(DDIMScheduler, DDIMScheduler.from_config(settings))
        return network

    return build


@pytest.fixture
def build_object_clear(build_network: NetworkBuilder) -> Callable[..., ObjectClearNetwork]:
    """(latent_channels, seed) → an untrained tiny ObjectClear network."""

    def build(latent_channels: int = 4, seed: int = 0) -> ObjectClearNetwork:
        return build_tiny_object_clear(build_network(latent_channels), build_tiny_image_encoder(seed), seed)

    return build
