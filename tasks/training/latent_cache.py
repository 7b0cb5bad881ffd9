"""Encode a remover's training images as latents once: the VAE is frozen, and only a flip is random.

`latents/CODEC/` in the workspace holds two files for each triplet, unchanged and mirrored. A VAE with other
weights or config has another folder, and a triplet of another shard another file. The cache is never stale.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import Dataset

from data_specs.errors import ModelError
from data_specs.keys import derive_key
from models.diffusion.inpainting import fingerprint_of
from models.training.distributed import (
    every_process_done,
    own_part,
    own_part_here,
    to_device,
    training_device,
)
from models.training.loop import BatchesFrom
from models.training.losses.remover import LatentBatch, latents_of
from tasks.storage.atomic_files import sweep_asides, write_durably
from tasks.storage.workspace import Workspace
from tasks.training.data import Groups, TripletSamples, batches_of, collate_triplets


class LatentSamples(Dataset[LatentBatch]):
    """Triplets as latents, map-style, one in a batch. A draw may mirror them."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Return ``names`` in this order."""
        self._folder = folder
        self._names = list(names)

    def __len__(self) -> int:
        return len(self._names)

    def path(self, draw: tuple[int, bool]) -> Path:
        """The path of a draw's latents."""
        position, flip = draw
        return self._folder / f"{self._names[position]}{'.mirrored' if flip else ''}.safetensors"

    def __getitem__(self, draw: tuple[int, bool]) -> LatentBatch:
        path = self.path(draw)
        try:
            return LatentBatch(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            raise ModelError(
                f"{path}: the latents are damaged ({error}); delete the file and start again"
            ) from error


def cached_latents(
    workspace: Workspace, samples: TripletSamples, origins: Sequence[tuple[str, str]], vae: Any
) -> LatentSamples:
    """Encode what is not encoded yet, each process its part. Triplets are encoded one by one.

    Args:
        workspace: The workspace of the cache.
        samples: The triplets.
        origins: The SHA-256 of the shard and the key, for each triplet.
        vae: The VAE, on the training's device.

    Raises:
        ModelError: If the latents cannot be written.
    """
    folder = workspace.root / "latents" / fingerprint_of(vae.state_dict(), [vae.config])
    latents = LatentSamples(folder, [derive_key("latents", *origin) for origin in origins])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep_asides(folder)
        draws = [(place, flip) for place in range(len(samples)) for flip in (False, True)]
        # On machines without a shared disk, the other machines' parts are missing after the first pass.
        for part in (own_part, own_part_here):
            for draw in part(draws):
                if not latents.path(draw).exists():
                    write_durably(latents.path(draw), _encoded(vae, samples, draw))
            every_process_done()
    except OSError as error:
        raise ModelError(
            f"{folder}: the latents cannot be written ({error.strerror}); free some space, or set "
            "cache_latents to false"
        ) from error
    return latents


def _encoded(vae: Any, samples: TripletSamples, draw: tuple[int, bool]) -> bytes:
    batch = to_device(collate_triplets([samples[draw]]), training_device())
    return save({name: tensor.cpu().contiguous() for name, tensor in _named(latents_of(vae, batch)).items()})


def latent_batches(
    samples: LatentSamples, groups: Groups, batch_size: int, seed: int, workers: int = 0
) -> BatchesFrom:
    """``LatentBatch``es for ``train``, with the draws of ``triplet_batches``."""
    return batches_of(samples, groups, batch_size, seed, workers, _joined)


def _joined(samples: list[LatentBatch]) -> LatentBatch:
    named = [_named(sample) for sample in samples]
    return LatentBatch(**{name: torch.cat([each[name] for each in named]) for name in named[0]})


def _named(batch: LatentBatch) -> dict[str, Tensor]:
    return {name: getattr(batch, name) for name in LatentBatch.__slots__}
