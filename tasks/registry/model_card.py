"""A model's card: what a folder of weights says of itself, and whether the weights are still those."""

import hashlib
import json
from pathlib import Path

from data_specs.errors import ModelError
from data_specs.model_record import ModelRecord
from tasks.storage.atomic_files import write_durably

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
