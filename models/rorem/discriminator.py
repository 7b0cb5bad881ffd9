"""Score removals with RORem's discriminator: the inpainting U-Net's down and mid blocks, LoRA, a small head.

The input is the REMOVAL's latent, the mask at latent size, and the UNMASKED source's latent (papers.md, fact
5). The timestep is 0 and the prompt is the one in use. The output is one logit. Voters, which the paper does
not have, read statistics of the removal and of the item's other candidates. The mean of all logits,
calibrated on held-out reviews, gives the probability of a good removal.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_specs.arrays import Mask, RgbImage
from data_specs.errors import ModelError, first_fault
from data_specs.keys import derive_key
from models.diffusion.inpainting import InpaintingNetwork, encoded
from models.images.tensors import images_to_tensor, indices_by_size, masks_to_tensor
from models.rorem.discriminator_heads import PaperHead, PooledHead, Voters
from models.rorem.statistics import others_of, removal_statistics, stacked

WEIGHTS_FILE, FACTS_FILE = "judge.safetensors", "judge.json"
"""The two files of a discriminator's folder."""
_VOTERS = "voters."
"""How the names of the voters' tensors start in the file."""
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The paper's LoRA targets."""
CONVOLUTIONS = ("conv1", "conv2", "conv_in", "conv_shortcut", "downsamplers.0.conv")


class DiscriminatorConfig(BaseModel):
    """The discriminator's shape. The paper's is rank 4, alpha 4, attention only, conv head (fact 5)."""

    model_config = ConfigDict(frozen=True)

    lora_rank: int = Field(default=4, ge=1, le=128, description="Rank of the LoRA (RORem: 4).")
    lora_alpha: int = Field(default=4, gt=0, description="Alpha of the LoRA (RORem: 4).")
    lora_targets: tuple[str, ...] = Field(
        default=ATTENTION,
        description="Modules that get a LoRA, by the end of their name. RORem uses the attention "
        "projections.",
    )
    head: Literal["paper", "pooled"] = Field(
        default="paper",
        description="Head of the network. paper: three strided convolutions, for a 16×16 mid block. "
        "pooled: mean and maximum inside, around and outside the mask, for smaller mid "
        "blocks.",
    )
    head_width: int = Field(
        default=1280, ge=8, le=4096, description="Number of channels of the head's layers (RORem: 1280)."
    )
    voters: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Number of small networks that read statistics of the removal and of its item's other "
        "candidates. Their logits and the network's are averaged. 0: the network alone (RORem).",
        # Names of works and runs of before hold no voters.
        exclude_if=lambda voters: voters == 0,
    )


class DiscriminatorNetwork(nn.Module):
    """A copy of an inpainting network's down and mid blocks with LoRA, and the head."""

    def __init__(self, network: InpaintingNetwork, config: DiscriminatorConfig, seed: int) -> None:
        """Copy the backbone, freeze it, add LoRA and the head. ``network`` is not changed."""
        super().__init__()
        unet = copy.deepcopy(network.unet).requires_grad_(False)
        # Without up blocks and output convolution, diffusers' forward pass ends at the mid block.
        unet.up_blocks = nn.ModuleList()
        unet.conv_norm_out = None  # pyright: ignore[reportAttributeAccessIssue]
        unet.conv_out = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        lora = LoraConfig(
            r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=list(config.lora_targets)
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.backbone = inject_adapter_in_model(lora, unet, "judge")
            channels = unet.config["block_out_channels"][-1]
            head = PaperHead if config.head == "paper" else PooledHead
            self.head = head(channels, config.head_width).to(network.unet.device)
        self._network = (network,)  # a tuple hides it from nn.Module: its weights are not part of this module

    def latent(self, images: Tensor) -> Tensor:
        """Scaled latents B×k×h×w of images B×3×H×W float in [-1, 1]."""
        return encoded(self._network[0].vae, images)[0]

    def forward(self, source: Tensor, mask: Tensor, removal: Tensor) -> Tensor:
        """Logits, B float.

        Args:
            source: B×3×H×W float, [-1, 1], not masked.
            mask: B×1×H×W float, 0 or 1.
            removal: B×3×H×W float, [-1, 1].
        """
        return self.verdict(self.latent(source), mask, self.latent(removal))

    def verdict(self, before: Tensor, mask: Tensor, after: Tensor) -> Tensor:
        """Logits, B float, from latents. Candidates of one source can share the source's latent.

        Args:
            before: B×k×h×w float, the source's latent.
            mask: B×1×H×W float, 0 or 1.
            after: B×k×h×w float, the removal's latent.
        """
        small_mask = nn.functional.interpolate(mask, after.shape[-2:], mode="nearest")
        hidden, added = self._network[0].condition(len(after), *mask.shape[-2:])
        inputs = torch.cat([after, small_mask, before], dim=1)
        features = self.backbone(inputs, 0, hidden, added_cond_kwargs=added).sample
        return self.head(features, mask).squeeze(1)

    def trained_state(self) -> dict[str, Tensor]:
        """LoRA and head only, by name."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}


@dataclass(slots=True)
class LoraDiscriminator:
    """A Discriminator: the network and the voters, with their calibration."""

    network: DiscriminatorNetwork
    config: DiscriminatorConfig
    voters: Voters | None = None
    slope: float = 1.0
    """Calibration: probability = sigmoid(slope · logit + offset)."""
    offset: float = 0.0
    batch_size: int = 64
    _hash: str = field(default="", repr=False)

    @property
    def model_hash(self) -> str:
        """Names LoRA, head, voters, settings and calibration."""
        if not self._hash:
            tensors = [part for name, t in sorted(self._tensors().items()) for part in (name, t.numpy())]
            settings = self.config.model_dump_json()
            self._hash = derive_key("discriminator", settings, self.slope, self.offset, *tensors)
        return self._hash

    def score(
        self,
        sources: Sequence[RgbImage],
        masks: Sequence[Mask],
        removals: Sequence[RgbImage],
        proposals: Sequence[str],
    ) -> list[float]:
        """See ``Discriminator.score``."""
        # Doubles keep the order of logits whose probabilities hardly differ.
        logits = torch.tensor(self.logits(sources, masks, removals, proposals), dtype=torch.float64)
        return torch.sigmoid(self.slope * logits + self.offset).tolist()

    @torch.no_grad()
    def logits(
        self,
        sources: Sequence[RgbImage],
        masks: Sequence[Mask],
        removals: Sequence[RgbImage],
        proposals: Sequence[str],
    ) -> list[float]:
        """Uncalibrated logits, N floats.

        Each source is encoded once, for any number of candidates in any order. The prompt's embedding is
        stored with the network, so no text encoder runs.
        """
        self.network.eval()
        logit_at: dict[int, float] = {}
        for places in indices_by_size(sources):
            logits = self._logits_of_one_size(
                [sources[place] for place in places],
                [masks[place] for place in places],
                [removals[place] for place in places],
                [proposals[place] for place in places],
            )
            logit_at.update(zip(places, logits, strict=True))
        return [logit_at[place] for place in range(len(sources))]

    def _logits_of_one_size(
        self,
        sources: Sequence[RgbImage],
        masks: Sequence[Mask],
        removals: Sequence[RgbImage],
        proposals: Sequence[str],
    ) -> list[float]:
        device = next(self.network.parameters()).device
        firsts, place = _distinct(sources)
        parts = [firsts[start : start + self.batch_size] for start in range(0, len(firsts), self.batch_size)]
        befores = torch.cat([self._latent(part, device) for part in parts])
        voters = self.voters
        numbers = None if voters is None else statistics_of(sources, masks, removals, proposals, device)
        logits: list[float] = []
        for start in range(0, len(sources), self.batch_size):
            part = slice(start, start + self.batch_size)
            before = befores[torch.tensor(place[part], device=device)]
            mask = masks_to_tensor(masks[part]).to(device)
            votes = [self.network.verdict(before, mask, self._latent(removals[part], device))[:, None].cpu()]
            if voters is not None and numbers is not None:
                votes.append(voters(numbers[part]))
            logits += torch.cat(votes, 1).mean(1).tolist()
        return logits

    def _latent(self, images: Sequence[RgbImage], device: torch.device) -> Tensor:
        return self.network.latent(images_to_tensor(images).to(device))

    def _tensors(self) -> dict[str, Tensor]:
        """LoRA, head and voters by name, on the CPU."""
        tensors = self.network.trained_state()
        if self.voters is not None:
            tensors |= {f"{_VOTERS}{name}": tensor for name, tensor in self.voters.state_dict().items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def save(self, folder: Path) -> None:
        """Write LoRA, head, voters, calibration and config. The backbone stays with the base."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._tensors(), folder / WEIGHTS_FILE)
        facts = {"config": self.config.model_dump(), "slope": self.slope, "offset": self.offset}
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1, sort_keys=True))


@torch.no_grad()
def statistics_of(
    sources: Sequence[RgbImage],
    masks: Sequence[Mask],
    removals: Sequence[RgbImage],
    proposals: Sequence[str],
    device: torch.device,
) -> Tensor:
    """Statistics of N candidates, N×K float, on the CPU. Those of one proposal are compared with each other.

    The arguments are those of ``Discriminator.score``. The images may have any sizes.
    """
    places: dict[str, list[int]] = {}
    for place, proposal in enumerate(proposals):
        places.setdefault(proposal, []).append(place)
    number_at: dict[int, Tensor] = {}
    for group in places.values():
        source, removal = (
            images_to_tensor([images[place] for place in group]).to(device) for images in (sources, removals)
        )
        mask = masks_to_tensor([masks[place] for place in group]).to(device)
        others = stacked(
            [
                others_of(own, [other for position, other in enumerate(removal) if position != number])
                for number, own in enumerate(removal)
            ]
        )
        number_at.update(zip(group, removal_statistics(source, mask, removal, others).cpu(), strict=True))
    return torch.stack([number_at[place] for place in range(len(sources))])


def _distinct(images: Sequence[RgbImage]) -> tuple[list[RgbImage], list[int]]:
    """The distinct images, in order of first appearance, and for each image the index of its distinct one."""
    firsts: list[RgbImage] = []
    places: dict[bytes, int] = {}
    place: list[int] = []
    for image in images:
        number = places.setdefault(image.tobytes(), len(firsts))
        if number == len(firsts):
            firsts.append(image)
        place.append(number)
    return firsts, place


def load_discriminator(folder: Path, network: InpaintingNetwork) -> LoraDiscriminator:
    """Read what ``save`` wrote, onto the backbone of ``network``.

    Raises:
        ModelError: If a file is missing or damaged, or belongs to another backbone.
    """
    try:
        facts = json.loads((folder / FACTS_FILE).read_text())
        config = DiscriminatorConfig.model_validate(facts["config"])
        module = DiscriminatorNetwork(network, config, seed=0)
        tensors = load_file(folder / WEIGHTS_FILE)
        voters = _loaded_voters(config, tensors)
        if set(tensors) != set(module.trained_state()):
            raise ModelError(
                f"{folder}: this discriminator was trained on another backbone; use that backbone, or "
                "train again"
            )
        module.load_state_dict(tensors, strict=False)
        return LoraDiscriminator(
            module, config, voters, slope=float(facts["slope"]), offset=float(facts["offset"])
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: cannot be used as a discriminator ({first_fault(error)}); train it again"
        ) from error


def _loaded_voters(config: DiscriminatorConfig, tensors: dict[str, Tensor]) -> Voters | None:
    """The voters of a file. Their tensors are taken out of ``tensors``."""
    state = {
        name.removeprefix(_VOTERS): tensors.pop(name) for name in list(tensors) if name.startswith(_VOTERS)
    }
    if not config.voters:
        return None
    voters = Voters(config.voters, len(state["centre"]))
    voters.load_state_dict(state)
    return voters.eval().requires_grad_(False)
