"""Store trained models in the workspace: one folder for each, named by its work, complete or absent."""

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
from models.device import network_device
from models.diffusion.inpainting import InpaintingNetwork, load_network
from models.diffusion.sdxl import is_published_layout, read_sdxl_inpainting
from tasks.storage.atomic_files import aside_path, file_sha256, sync_folder, write_durably
from tasks.storage.workspace import Workspace

# A model's card: what a folder of weights says about itself, and whether the weights are still the same.

CARD_FILE = "model-card.json"


def weights_digests(folder: Path) -> dict[str, str]:
    """Each safetensors file below ``folder``, by its relative path, with its SHA-256."""
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*.safetensors"))
    }


def write_card(folder: Path, record: ModelRecord) -> None:
    """Write what is known of a model beside its weights. The same model gives the same bytes.

    Time and location are left out. The ledger has them, and the folder may be copied.
    """
    card = record.model_dump(mode="json", exclude={"path", "created_at"})
    write_durably(folder / CARD_FILE, json.dumps(card, indent=1, sort_keys=True).encode() + b"\n")


def weights_fault(folder: Path, record: ModelRecord) -> str:
    """What is wrong with a model's weights, as text after the folder's name. Empty if nothing is wrong."""
    if not any(folder.rglob("*.safetensors")):
        return "its weights are missing"
    for name, sha256 in record.weights.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if file_sha256(folder / name) != sha256:
            return f"{name} has changed since it was recorded"
    return ""


def check_weights(folder: Path, record: ModelRecord) -> None:
    """Check that the weights exist and are the recorded ones.

    Models recorded before there were cards have no checksums. Their weights only have to exist.

    Raises:
        ModelError: If a file is missing or differs.
    """
    fault = weights_fault(folder, record)
    if fault:
        raise ModelError(
            f"{folder}: model {record.hash} cannot be used, {fault}; restore the file from a backup, "
            "or choose another model with `cleanplate model list`"
        )


# The code revision: git's, if cleanplate runs from its own checkout, or the installed version.

_ROOT = Path(__file__).parents[2]
"""The folder of the packages. It is the checkout, if there is one."""


@lru_cache(maxsize=1)
def code_revision() -> str:
    """40 hexadecimal digits, with ``-dirty`` after changes to tracked files. Else ``cleanplate 0.1.0``.

    It is read once for each process: a later change of a file does not change the running code.
    """
    top = _git("rev-parse", "--show-toplevel")
    # A package installed inside another project's checkout must not name that project's revision.
    if top and Path(top).resolve() == _ROOT.resolve():
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        return f"cleanplate {version('cleanplate')}"
    except PackageNotFoundError:
        return ""


def _git(*words: str) -> str:
    """The output of git. Empty without git or without a checkout."""
    try:
        asked = ["git", "-C", str(_ROOT), *words]
        return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


WEIGHTS_FOLDER = Path(str(files("models"))) / "weights"
"""The weights that ship with the package."""
BASE_FOLDER = WEIGHTS_FOLDER / "base"
"""The shipped base, made by ``cleanplate train base``."""


def keep_model(workspace: Workspace, digest: str, save: Callable[[Path], None]) -> Path:
    """Save a model under its work's digest, atomically. An equal one that exists is kept.

    Args:
        workspace: The workspace to write to.
        digest: Names the work: parent, data, settings.
        save: Writes the model into the folder it gets.

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
        # Another process did the same work first. The contents are equal.
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(workspace.models_dir)
    return folder


def _sync_tree(folder: Path) -> None:
    """Wait until a folder's files and their names are on the disk."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def drop_checkpoint(checkpoint: Path) -> None:
    """Remove a finished training's checkpoint, and temporary files of killed processes."""
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
    distilled: bool = False,
) -> ModelRecord:
    """Write a model's card beside its weights, then record it in the ledger. Repeating it is harmless.

    Args:
        workspace: The workspace to write to.
        kind: The kind of model.
        model_hash: Its name.
        folder: The folder of its weights.
        parent: Hash of the model it was trained from.
        dataset_version: The version it was trained on.
        metrics: The results of its training.
        settings: How it was trained and how it samples.
        distilled: Whether it learnt from its parent's removals.

    Returns:
        The record. An existing one stays as it was.
    """
    ledger = workspace.ledger()
    if ledger.models.has(model_hash):
        entry = ledger.models.of_hash(model_hash)
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
            distilled=distilled,
        )
    write_card(folder, entry)
    workspace.store.share(f"{entry.path}/{CARD_FILE}")
    ledger.models.record(entry)
    return entry


def network_at(folder: Path) -> InpaintingNetwork:
    """A new network of this process, which the caller may train.

    Raises:
        ModelError: If the folder holds no network.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: holds no model; run `cleanplate train base` or `cleanplate demo`")
    return read_sdxl_inpainting(folder) if is_published_layout(folder) else load_network(folder)


@lru_cache(maxsize=4)
def shared_network_at(folder: Path) -> InpaintingNetwork:
    """A network for reading only, loaded once for each process. It is on the process's GPU, if any."""
    return network_at(folder).to(network_device())
