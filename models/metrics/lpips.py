"""Measure LPIPS on AlexNet's features, with weights from a local file (Zhang et al. 2018, version 0.1).

torchmetrics and the lpips package take AlexNet from torchvision, which the project does not need otherwise.
The five convolutions are therefore defined here, with torchvision's names. ``tests/models`` checks that the
result equals torchmetrics' own arithmetic.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data_specs.errors import ModelError, first_line
from data_specs.metric import MetricSpec, RemovedImage
from models.device import network_device
from models.images.backbones import folder_fingerprint
from models.images.tensors import images_to_tensor

FILE_NAME = "lpips_alex.safetensors"
_CHANNELS = (64, 192, 384, 256, 256)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation for images in -1 to 1, as LPIPS states them."""


class AlexLpips(nn.Module):
    """The distance. ``state_dict`` has torchvision's ``features.N`` and lpips' ``linN.model.1``."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(),
            nn.MaxPool2d(3, stride=2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
            nn.MaxPool2d(3, stride=2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        for number, channels in enumerate(_CHANNELS):
            head = nn.Module()
            # lpips has a dropout before each weight. It does nothing at inference, but it shifts the weight's
            # name.
            head.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{number}", head)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """N×3×H×W float, [-1, 1], at least 31 px a side → N distances ≥ 0."""
        distances = one.new_zeros(len(one))
        pairs = zip(self._maps(one), self._maps(other), strict=True)
        for number, (here, there) in enumerate(pairs):
            head = self.get_submodule(f"lin{number}.model")
            distances = distances + head((_unit(here) - _unit(there)) ** 2).mean(dim=(1, 2, 3))
        return distances

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Return the output of each ReLU."""
        shift, scale = (images.new_tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
        flow, maps = (images - shift) / scale, []
        for layer in self.features:
            flow = layer(flow)
            if isinstance(layer, nn.ReLU):
                maps.append(flow)
        return maps


def _unit(features: Tensor) -> Tensor:
    """Scale to unit length over channels at every position."""
    return features / torch.sqrt(1e-8 + (features**2).sum(dim=1, keepdim=True))


class Lpips:
    """A Metric: perceptual distance between removal and ground truth. 0 means equal."""

    spec = MetricSpec(
        "lpips",
        "LPIPS",
        "",
        "lower",
        2,
        "Perceptual distance to the ground truth (Zhang et al. 2018, AlexNet, heads of version 0.1).",
        shown_times=100,
    )

    def __init__(self, folder: Path) -> None:
        """Read ``lpips_alex.safetensors`` from the folder.

        Raises:
            ModelError: If it is missing, damaged, or lacks a weight.
        """
        path = folder / FILE_NAME
        self._network = AlexLpips()
        try:
            weights = load_file(path)
            # The file may also hold AlexNet's classifier. No weight of this network may be missing.
            wanted = {name: weights[name].float() for name in self._network.state_dict()}
            self._network.load_state_dict(wanted)
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{path}: LPIPS's weights cannot be read from it ({first_line(error)}); "
                "make the file again (docs/guides/evaluation.md)"
            ) from error
        self._network.eval().requires_grad_(False).to(network_device())
        self.fingerprint = folder_fingerprint(folder)

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """See ``Metric.measure``. Each side must be at least 31 px."""
        device = network_device()
        removals = images_to_tensor([image.removal for image in images]).to(device)
        truths = images_to_tensor([image.ground_truth for image in images]).to(device)
        return self._network(removals, truths).cpu().tolist()
