"""Trained models in the workspace: a folder each, named by the work that made it, complete or absent."""

import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from data_specs.errors import ModelError
from data_specs.model_record import ModelKind, ModelRecord
from models.diffusion.inpainting import InpaintingNetwork, load_network
from models.diffusion.sdxl import is_published_layout, read_sdxl_inpainting
from models.training.distributed import training_device
from tasks.registry.code_revision import code_revision
from tasks.registry.model_card import CARD_FILE, weights_digests, write_card
from tasks.storage.atomic_files import aside_path, sync_folder
from tasks.storage.workspace import Workspace

WEIGHTS_FOLDER = Path(str(files("models"))) / "weights"
"""What ships."""
BASE_FOLDER = WEIGHTS_FOLDER / "base"
"""The shipped base, made by ``cleanplate train base``."""


def keep_model(workspace: Workspace, digest: str, save: Callable[[Path], None]) -> Path:
    """Save a model under its work's digest, aside first; an equal one already there is kept.

    Args:
        workspace: Where.
        digest: Names the work: parent, data, settings.
        save: Writes the model into the folder it is given.

    Returns:
        The folder.
    """
    folder, place = workspace.models_dir / digest, f"models/{digest}"
    if workspace.store.fetch_tree(place):
        return folder
    aside = aside_path(folder)
    aside.mkdir(parents=True)
    try:
        save(aside)
        _sync_tree(aside)
        if workspace.store.keep_tree(aside, place):
            aside.rename(folder)
        else:
            workspace.store.fetch_tree(place)
    except OSError:
        if not folder.exists():
            raise
        # Somebody doing the same work was faster; the contents are equal.
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(workspace.models_dir)
    return folder


def _sync_tree(folder: Path) -> None:
    """Waits until a folder's files and their names are on the disk."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def drop_checkpoint(checkpoint: Path) -> None:
    """Remove a finished training's checkpoint, and what killed processes left aside of it."""
    for path in checkpoint.parent.glob(f"{checkpoint.name}*"):
        path.unlink(missing_ok=True)


def record(
    workspace: Workspace,
    *,
    kind: ModelKind,
    model_hash: str,
    folder: Path,
    parent: str | None,
    dataset_version: int | None,
    metrics: dict[str, float],
    settings: Mapping[str, Any] | None = None,
) -> ModelRecord:
    """Write a model's card beside its weights, then enter it in the ledger; harmless when repeated.

    Args:
        workspace: Where.
        kind: What it is.
        model_hash: Its name.
        folder: Holds its weights.
        parent: Hash of the model it was trained from.
        dataset_version: What it was trained on.
        metrics: What its training found.
        settings: What it was trained and is sampled with.

    Returns:
        The entry; one that is there already stays as it was.
    """
    ledger = workspace.ledger()
    if ledger.has_model(model_hash):
        entry = ledger.model(model_hash)
    else:
        entry = ModelRecord(
            hash=model_hash,
            kind=kind,
            path=os.path.relpath(folder, workspace.root),
            parent=parent,
            dataset_version=dataset_version,
            metrics=metrics,
            created_at=datetime.now(UTC),
            settings=dict(settings or {}),
            weights=weights_digests(folder),
            git_revision=code_revision(),
        )
    write_card(folder, entry)
    workspace.store.share(f"{entry.path}/{CARD_FILE}")
    ledger.record_model(entry)
    return entry


def network_at(folder: Path) -> InpaintingNetwork:
    """A network of this process's own, which the caller may train.

    Raises:
        ModelError: If the folder holds none.
    """
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: there is no model here; run `cleanplate train base` or `cleanplate demo`"
        )
    return read_sdxl_inpainting(folder) if is_published_layout(folder) else load_network(folder)


@lru_cache(maxsize=4)
def shared_network_at(folder: Path) -> InpaintingNetwork:
    """A network loaded once a process, for reading only, on the process's GPU where there is one."""
    return network_at(folder).to(training_device())
