"""Trained models in the workspace: a folder each, named by the work that made it, complete or absent."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from data_specs.errors import ModelError
from data_specs.model_record import ModelKind, ModelRecord
from models.diffusion.inpainting import InpaintingNetwork, load_network
from models.diffusion.sdxl import is_published_layout, read_sdxl_inpainting
from models.training.distributed import training_device
from tasks.storage.atomic_files import aside_path, sync_folder, write_durably
from tasks.storage.workspace import Workspace

# A model's card: what a folder of weights says of itself, and whether the weights are still those.

CARD_FILE = "model-card.json"


def weights_digests(folder: Path) -> dict[str, str]:
    """Each safetensors file below ``folder``, by its relative path, with its sha256."""
    return {
        path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(folder.rglob("*.safetensors"))
    }


def write_card(folder: Path, record: ModelRecord) -> None:
    """Write what is known of a model beside its weights; the same model gives the same bytes.

    Time and place are left out: they are the ledger's, and the folder may be copied elsewhere.
    """
    card = record.model_dump(mode="json", exclude={"path", "created_at"})
    write_durably(folder / CARD_FILE, json.dumps(card, indent=1, sort_keys=True).encode() + b"\n")


def weights_fault(folder: Path, record: ModelRecord) -> str:
    """What is wrong with a model's weights, in words that follow the folder's name; empty if nothing is."""
    if not any(folder.rglob("*.safetensors")):
        return "its weights are missing"
    for name, sha256 in record.weights.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _sha256(folder / name) != sha256:
            return f"{name} is not the file that was entered: its sha256 differs"
    return ""


def check_weights(folder: Path, record: ModelRecord) -> None:
    """Make sure that the weights are there and are those that were entered.

    Of models entered before there were cards no checksums are known; theirs must only be there.

    Raises:
        ModelError: If a file is missing or another.
    """
    fault = weights_fault(folder, record)
    if fault:
        raise ModelError(
            f"{folder}: model {record.hash} cannot be used, {fault}; restore the file from a backup, "
            "or choose another model with `cleanplate model list`"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Which code this is: the git revision of cleanplate's own checkout, or the version that is installed.

_ROOT = Path(__file__).parents[2]
"""The folder that holds the rooms: the checkout's, where there is one."""


@lru_cache(maxsize=1)
def code_revision() -> str:
    """40 hexadecimal digits, ``-dirty`` behind where tracked files were changed; else ``cleanplate 0.1.0``.

    Asked once a process: a file changed while it runs changes nothing of what is running.
    """
    top = _git("rev-parse", "--show-toplevel")
    # A package installed inside somebody else's checkout must not name theirs.
    if top and Path(top).resolve() == _ROOT.resolve():
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        return f"cleanplate {version('cleanplate')}"
    except PackageNotFoundError:
        return ""


def _git(*words: str) -> str:
    """What git answers; empty where there is no git, or no checkout."""
    try:
        asked = ["git", "-C", str(_ROOT), *words]
        return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


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
