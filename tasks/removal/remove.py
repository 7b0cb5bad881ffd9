"""Remove objects from one image, mask after mask, from file to file."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from data_specs.arrays import Alpha, Mask, RgbImage
from data_specs.errors import InputError
from data_specs.reject import RejectReason
from models.protocols import AttentiveRemover, RemovalModel
from tasks.removal.files import RemovalFiles, check_writable, write_image
from tasks.sources.image_files import RejectedImage, check_same_size, read_image, read_soft_mask

MIN_SIDE_PX = 16
"""Below this size there is no neighbourhood that could fill the hole."""
_SOFT_FRACTION = 0.01
"""Grey pixels for each marked pixel, from which a mask counts as soft."""
_GAP_PX = 8


@dataclass(frozen=True, slots=True)
class RemovalExtras:
    """The files that are written in addition to a removal."""

    attention: bool = False
    """``OUT.attention.png``, H×W grey: where the model attended, as the maximum over the masks."""
    compare: bool = False
    """``OUT.compare.png``: the source and the removal side by side."""


class RemovalReport(BaseModel):
    """A written removal."""

    model_config = ConfigDict(frozen=True)

    source: Path
    masks: tuple[Path, ...]
    out: Path
    beside: tuple[Path, ...]
    """The additional files."""
    model_hash: str
    seed: int
    seconds: float
    notes: tuple[str, ...]
    """What people should know about it, one sentence each."""


def check_extras(remover: RemovalModel, extras: RemovalExtras) -> None:
    """Refuse what a remover cannot give, before anything is read.

    Raises:
        InputError: If attention is wanted from a remover that has none.
    """
    if extras.attention and not isinstance(remover, AttentiveRemover):
        raise InputError("--save-attention", "this remover has no attention map; use --model object-clear")


def remove_from_files(
    files: RemovalFiles, remover: RemovalModel, seed: int, extras: RemovalExtras
) -> RemovalReport:
    """Read, remove, write. The removal's own file comes last: if it exists, all files exist.

    Args:
        files: The image, its masks in order, and the output. Each mask sees the earlier removals.
        remover: Accepts images of any size.
        seed: Seed of the noise, the same for each mask.
        extras: The additional files; see ``check_extras``.

    Raises:
        RejectedImage: If the image or a mask is refused. Nothing is written then.
        InputError: If the output cannot be written.
    """
    began = time.monotonic()
    for path in (files.out, *_beside(files, extras)):
        check_writable(path)
    source = _read_source(files.source)
    masks, notes = _read_masks(files.masks, source.shape[:2])
    removal, attention = _remove_all(source, masks, remover, seed, extras)
    if attention is not None:
        write_image(files.beside("attention"), np.round(attention * 255).astype(np.uint8))
    if extras.compare:
        write_image(files.beside("compare"), side_by_side(source, removal))
    write_image(files.out, removal)
    return RemovalReport(
        source=files.source,
        masks=files.masks,
        out=files.out,
        beside=_beside(files, extras),
        model_hash=remover.model_hash,
        seed=seed,
        seconds=round(time.monotonic() - began, 3),
        notes=notes,
    )


def side_by_side(before: RgbImage, after: RgbImage) -> RgbImage:
    """Two images H×W×3 uint8 with a white gap of 8 px: H×(2W + 8)×3."""
    gap = np.full((before.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([before, gap, after], axis=1)


def _beside(files: RemovalFiles, extras: RemovalExtras) -> tuple[Path, ...]:
    wanted = {"attention": extras.attention, "compare": extras.compare}
    return tuple(files.beside(kind) for kind, is_wanted in wanted.items() if is_wanted)


def _read_source(path: Path) -> RgbImage:
    source = read_image(path)
    height, width = source.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        detail = f"{width}×{height}, and a removal needs sides of at least {MIN_SIDE_PX} px"
        raise RejectedImage(path, RejectReason.TOO_SMALL, detail)
    return source


def _read_masks(paths: tuple[Path, ...], size: tuple[int, int]) -> tuple[list[Mask], tuple[str, ...]]:
    """The masks, and a note on each soft one: half of an object cannot be removed."""
    masks: list[Mask] = []
    notes: list[str] = []
    for path in paths:
        mask, softness = read_soft_mask(path)
        check_same_size(path, mask.shape, size)
        masks.append(mask)
        if softness > _SOFT_FRACTION:
            notes.append(f"{path}: a soft mask; what is brighter than half grey is removed")
    return masks, tuple(notes)


def _remove_all(
    source: RgbImage, masks: list[Mask], remover: RemovalModel, seed: int, extras: RemovalExtras
) -> tuple[RgbImage, Alpha | None]:
    removal = source
    attention = np.zeros(source.shape[:2], np.float32) if extras.attention else None
    for mask in masks:
        if attention is not None and isinstance(remover, AttentiveRemover):
            removal, attended = remover.remove_attending(removal, mask, seed)
            np.maximum(attention, attended, out=attention)
        else:
            removal = remover.remove([removal], [mask], [seed])[0]
    return removal, attention
