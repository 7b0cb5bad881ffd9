"""Encode images with a linear patch codec in place of SDXL's VAE, behind the same encode and decode methods.

Each P×P×3 patch becomes k numbers: its coordinates along the k leading principal components of image patches.
PCA has the smallest loss of all linear codecs of that size. The fit has a closed form and needs no training
steps.
"""

from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor


class PatchCodec(ModelMixin, ConfigMixin):
    """B×3×H×W in [-1, 1] ⇄ B×k×H/P×W/P latents of about unit variance.

    ``latent_dist`` is deterministic. ``scaling_factor`` is 1, because the components are already scaled.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        patch: int = 4,
        block_out_channels: tuple[int, ...] = (1, 1, 1),
        scaling_factor: float = 1.0,
        force_upcast: bool = False,
    ) -> None:
        """Build an empty codec. ``fit`` or ``from_pretrained`` fills it.

        Args:
            latent_channels: k.
            patch: P, a power of two. Diffusers reads it as 2 ** (len(block_out_channels) − 1).
            block_out_channels: Diffusers' pipelines read only its length.
            scaling_factor: As in AutoencoderKL.
            force_upcast: As in AutoencoderKL.
        """
        super().__init__()
        width = 3 * patch * patch
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("analysis", torch.zeros(latent_channels, width))
        self.register_buffer("synthesis", torch.zeros(width, latent_channels))
        # ModelMixin takes dtype and device from the parameters. This codec trains none, so it holds a dummy
        # one.
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    @torch.no_grad()
    def fit(self, images: Tensor) -> "PatchCodec":
        """Compute the components from images.

        Args:
            images: B×3×H×W float, [-1, 1].

        Returns:
            The codec itself.
        """
        patches = self._patches(images).permute(0, 2, 3, 1).reshape(-1, len(cast(Tensor, self.mean)))
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T.double()))
        keep = self.config["latent_channels"]
        values, vectors = values.flip(0)[:keep], vectors.flip(1)[:, :keep]
        vectors = vectors * torch.where(vectors.abs().amax(0) == vectors.amax(0), 1.0, -1.0)
        # A compromise: equal variance wastes capacity on detail, and no scaling drowns detail in noise.
        scale = (values / values[0]).pow(-0.25) / values[0].sqrt()
        self.mean = mean
        self.analysis = (vectors * scale).T.float().contiguous()
        self.synthesis = (vectors / scale).float().contiguous()
        return self

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple:
        """B×3×H×W in [-1, 1] → a distribution. Its mean and every sample are the latent."""
        flat = self._patches(x) - cast(Tensor, self.mean)[:, None, None]
        latent = torch.einsum("kc,bchw->bkhw", cast(Tensor, self.analysis), flat)
        spread = torch.full_like(latent, -30.0)
        dist = DiagonalGaussianDistribution(torch.cat([latent, spread], 1), deterministic=True)
        return AutoencoderKLOutput(latent_dist=dist) if return_dict else (dist,)

    def decode(self, z: Tensor, return_dict: bool = True, generator: object = None) -> DecoderOutput | tuple:
        """B×k×h×w → B×3×h·P×w·P in [-1, 1], not clipped."""
        flat = torch.einsum("ck,bkhw->bchw", cast(Tensor, self.synthesis), z)
        image = torch.nn.functional.pixel_shuffle(
            flat + cast(Tensor, self.mean)[:, None, None], self.config["patch"]
        )
        return DecoderOutput(sample=image) if return_dict else (image,)

    def _patches(self, x: Tensor) -> Tensor:
        return torch.nn.functional.pixel_unshuffle(x, self.config["patch"])
