"""Open removers by name, as `cleanplate remove --model` and similar commands do."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from data_specs.errors import InputError, ModelError
from data_specs.model_record import ModelRecord
from models.baselines.telea import TeleaFill
from models.diffusion.inpainting import InpaintingNetwork
from models.images.any_size import AnySizeRemover, short_side_of
from models.objectclear.pipeline import ObjectClearPipeline
from models.objectclear.remover import ObjectClearRemover
from models.protocols import RemovalModel
from models.rorem.remover import InpaintingRemover, SamplingConfig
from tasks.registry.store import BASE_FOLDER, WEIGHTS_FOLDER, network_at, shared_network_at
from tasks.storage.workspace import Workspace


class RemoverRef(BaseModel):
    """A remover by name and folder. Tasks do not exchange weights."""

    model_config = ConfigDict(frozen=True)

    hash: str
    """Hash of weights and sampling."""
    folder: str
    """Relative to the workspace. Absolute for the shipped base."""
    sampling: SamplingConfig


def load_remover(workspace: Workspace, ref: RemoverRef) -> InpaintingRemover:
    """The remover of a ref. It is loaded and hashed once for each process."""
    return _remover_at(workspace.fetched(ref.folder), ref.sampling.model_dump_json())


@lru_cache(maxsize=4)
def _remover_at(folder: Path, sampling_json: str) -> InpaintingRemover:
    return InpaintingRemover(shared_network_at(folder), SamplingConfig.model_validate_json(sampling_json))


NAMES = ("object-clear", "rorem", "telea")
"""Names that ``open_remover`` knows in addition to folders."""
OBJECT_CLEAR_FOLDER = WEIGHTS_FOLDER / "object_clear"
"""The shipped ObjectClear, made by ``cleanplate train shipped-object-clear``."""
_OBJECT_TOKEN = "object_token"
"""The part that distinguishes ObjectClear's folder from RORem's."""
_HASH = re.compile(r"[0-9a-f]{4,64}")
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})


@dataclass(frozen=True, slots=True)
class OpenedRemover:
    """A remover for images of any size, with a description."""

    remover: RemovalModel
    title: str


def open_remover(name: str | None, steps: int | None) -> OpenedRemover:
    """Open a remover by name or folder. Without a name, open the best one that ships.

    Args:
        name: One of ``NAMES``, or the folder of a network.
        steps: Denoising steps. None means the remover's own number.

    Raises:
        ModelError: If the folder holds no usable network.
        InputError: If there is no such name or folder, or if steps are given for Telea.
    """
    if name == "telea":
        if steps is not None:
            raise InputError("--steps", "telea has no steps; leave out --steps")
        return OpenedRemover(TeleaFill(), "Telea's fill")
    if name is None:
        name = "object-clear" if OBJECT_CLEAR_FOLDER.is_dir() else "rorem"
    if name == "object-clear":
        return _object_clear(OBJECT_CLEAR_FOLDER, steps, "ObjectClear, the shipped weights")
    if name == "rorem":
        return _rorem(network_at(BASE_FOLDER), steps, "RORem's remover, the shipped base")
    folder = Path(name)
    if not folder.exists():
        raise InputError(f"--model {name}", f"is unknown; name {', '.join(NAMES)} or an existing folder")
    check_no_pickle(folder)
    if is_object_clear_folder(folder):
        return _object_clear(folder, steps, f"ObjectClear in {folder}")
    return _rorem(network_at(folder), steps, f"RORem's remover in {folder}")


def open_champion(workspace: Path, steps: int | None) -> OpenedRemover:
    """Open a workspace's champion.

    Raises:
        InputError: If there is no workspace, or no remover in it.
        ModelError: If its folder holds no usable network.
    """
    place = Workspace.existing(workspace)
    champion = place.ledger().models.champion("remover")
    if champion is None:
        raise InputError(workspace, "this workspace has no remover yet; run `cleanplate cycle` first")
    return _recorded(place, champion, steps, f"RORem's remover, champion {champion.hash} of {workspace}")


def open_recorded(workspace: Path, start: str, steps: int | None) -> OpenedRemover:
    """Open a remover of a workspace by its hash.

    Args:
        workspace: Its ledger knows the remover.
        start: The hash, or enough characters of its beginning.
        steps: Denoising steps. None means the recorded number.

    Raises:
        InputError: If there is no workspace.
        LedgerError: If the ledger knows no such model, or more than one.
        ModelError: If the model is no remover, or its folder holds no usable network.
    """
    place = Workspace.existing(workspace)
    record = place.ledger().models.named(start)
    if record.kind != "remover":
        raise ModelError(f"model {record.hash} is a {record.kind}; name a remover")
    return _recorded(place, record, steps, f"RORem's remover {record.hash} of {workspace}")


def is_object_clear_folder(folder: Path) -> bool:
    """Whether a folder holds ObjectClear. If not, it may hold RORem's remover."""
    return (folder / _OBJECT_TOKEN).is_dir()


def is_remover_folder_or_name(name: str) -> bool:
    """Whether ``open_remover`` may open it. Other text that looks like a hash may be a workspace's model."""
    return name in NAMES or Path(name).exists() or not _HASH.fullmatch(name)


def _recorded(place: Workspace, record: ModelRecord, steps: int | None, title: str) -> OpenedRemover:
    folder = place.fetched(record.path)
    absent = [name for name in record.weights if not (folder / name).is_file()]
    if absent or not folder.is_dir():
        raise ModelError(
            f"{folder}: model {record.hash} lacks {', '.join(absent) or 'its folder'}; restore it from a "
            "backup, or choose another with `cleanplate model list`"
        )
    sampling = SamplingConfig.model_validate(record.settings.get("sampling", {}))
    return _rorem(network_at(folder), steps, title, sampling)


def check_no_pickle(folder: Path) -> None:
    """Refuse weights that may run code when they are read.

    Raises:
        ModelError: If the path is a file, or holds pickles and no safetensors.
    """
    if folder.is_file():
        if folder.suffix in _PICKLES:
            raise ModelError(_PICKLED.format(folder))
        raise ModelError(f"{folder}: is a file; name the folder with unet/, vae/ and scheduler/")
    pickles = [path for path in sorted(folder.rglob("*")) if path.suffix in _PICKLES]
    if pickles and not any(folder.rglob("*.safetensors")):
        raise ModelError(_PICKLED.format(pickles[0]))


_PICKLED = "{}: holds pickled weights, which may run code when they are read; convert them to safetensors"


def _object_clear(folder: Path, steps: int | None, title: str) -> OpenedRemover:
    if not folder.is_dir():
        raise ModelError(f"{folder}: holds no model; run `cleanplate train shipped-object-clear`")
    return OpenedRemover(ObjectClearRemover(ObjectClearPipeline.from_pretrained(folder), steps), title)


def _rorem(
    network: InpaintingNetwork, steps: int | None, title: str, own: SamplingConfig | None = None
) -> OpenedRemover:
    """``own`` is how the network samples if no steps are given."""
    own = own or SamplingConfig()
    sampling = own if steps is None else SamplingConfig(**{**own.model_dump(), "steps": steps})
    remover = InpaintingRemover(network, sampling)
    return OpenedRemover(AnySizeRemover(remover, short_side_of(network.unet, network.vae)), title)
