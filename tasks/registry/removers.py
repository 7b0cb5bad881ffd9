"""Open removers by name, as `cleanplate remove --model` and similar commands do."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from diffusers.schedulers.scheduling_lcm import LCMScheduler
from pydantic import BaseModel, ConfigDict

from data_specs.errors import InputError, ModelError, first_fault
from data_specs.model_record import ModelRecord
from models.baselines.patch_match import PatchMatchFill
from models.baselines.telea import TeleaFill
from models.device import network_device
from models.diffusion.checkpoints import published_folder
from models.diffusion.inpainting import InpaintingNetwork, SamplingPrecision
from models.diffusion.sdxl import is_published_layout
from models.images.any_size import AnySizeRemover, short_side_of
from models.objectclear.attended_fill import AttendedFill
from models.objectclear.pipeline import ObjectClearPipeline
from models.objectclear.released import RELEASED_TOKEN, read_released_object_clear
from models.objectclear.remover import ObjectClearRemover
from models.profiles import PROFILES, Profile, profile_of
from models.protocols import RemovalModel
from models.rorem.remover import InpaintingRemover, SamplingConfig
from tasks.registry.store import BASE_FOLDER, CARD_FILE, WEIGHTS_FOLDER, network_at, shared_network_at
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


NAMES = ("patch-match", "object-clear", "rorem", "telea")
"""Names that ``open_remover`` knows in addition to folders."""
OBJECT_CLEAR_FOLDER = WEIGHTS_FOLDER / "object_clear"
"""The shipped ObjectClear, made by ``cleanplate train shipped-object-clear``."""
_OBJECT_TOKENS = ("object_token", RELEASED_TOKEN)
"""The part that distinguishes ObjectClear's folder from RORem's: ours, and the authors'."""
_HASH = re.compile(r"[0-9a-f]{4,64}")
_FULL_PX = 512
"""Short side of a network of full size."""
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})


@dataclass(frozen=True, slots=True)
class OpenedRemover:
    """A remover for images of any size, with a description."""

    remover: RemovalModel
    title: str


def open_remover(
    name: str | None,
    steps: int | None,
    precision: SamplingPrecision | None = None,
    profile: str | None = None,
) -> OpenedRemover:
    """Open a remover by name or folder. Without a name, open the best one that ships.

    Args:
        name: One of ``NAMES``, the folder of a network, or a repository of the Hugging Face hub.
        steps: Denoising steps. None means the remover's own number.
        precision: Precision of the U-Net's passes. None means the remover's own.
        profile: The profile whose sampling RORem's remover uses. None means the remover's own sampling.

    Raises:
        ModelError: If the folder holds no usable network.
        InputError: If there is no such name, folder or profile, or if steps or a precision are given for
            Telea.
    """
    if name == "telea":
        if steps is not None or precision is not None:
            raise InputError("telea", "has neither steps nor a precision; leave out --steps and --precision")
        return OpenedRemover(TeleaFill(), "Telea's fill")
    if name is None:
        name = "patch-match" if OBJECT_CLEAR_FOLDER.is_dir() else "rorem"
    if name == "patch-match":
        return _attended_fill(steps, precision)
    if name == "object-clear":
        return _object_clear(OBJECT_CLEAR_FOLDER, steps, precision, "ObjectClear, the shipped weights")
    if name == "rorem":
        return _rorem(BASE_FOLDER, (steps, precision, profile), "RORem's remover, the shipped base")
    folder = published_folder(name)
    if not folder.exists():
        raise InputError(f"--model {name}", f"is unknown; name {', '.join(NAMES)} or an existing folder")
    check_no_pickle(folder)
    if is_object_clear_folder(folder):
        return _object_clear(folder, steps, precision, f"ObjectClear in {folder}")
    return _rorem(folder, (steps, precision, profile), f"RORem's remover in {folder}")


def open_champion(
    workspace: Path,
    steps: int | None,
    precision: SamplingPrecision | None = None,
    profile: str | None = None,
) -> OpenedRemover:
    """Open a workspace's champion. The parameters are those of ``open_remover``.

    Raises:
        InputError: If there is no workspace, or no remover in it.
        ModelError: If its folder holds no usable network.
    """
    place = Workspace.existing(workspace)
    champion = place.ledger().models.champion("remover")
    if champion is None:
        raise InputError(workspace, "this workspace has no remover yet; run `cleanplate cycle` first")
    title = f"RORem's remover, champion {champion.hash} of {workspace}"
    return _recorded(place, champion, (steps, precision, profile), title)


def open_recorded(
    workspace: Path,
    start: str,
    steps: int | None,
    precision: SamplingPrecision | None = None,
    profile: str | None = None,
) -> OpenedRemover:
    """Open a remover of a workspace by its hash.

    Args:
        workspace: Its ledger knows the remover.
        start: The hash, or enough characters of its beginning.
        steps: Denoising steps. None means the recorded number.
        precision: Precision of the U-Net's passes. None means the recorded one.
        profile: The profile whose sampling is used. None means the recorded sampling.

    Raises:
        InputError: If there is no workspace.
        LedgerError: If the ledger knows no such model, or more than one.
        ModelError: If the model is no remover, or its folder holds no usable network.
    """
    place = Workspace.existing(workspace)
    record = place.ledger().models.named(start)
    if record.kind != "remover":
        raise ModelError(f"model {record.hash} is a {record.kind}; name a remover")
    title = f"RORem's remover {record.hash} of {workspace}"
    return _recorded(place, record, (steps, precision, profile), title)


def is_object_clear_folder(folder: Path) -> bool:
    """Whether a folder holds ObjectClear. If not, it may hold RORem's remover."""
    return any((folder / part).is_dir() for part in _OBJECT_TOKENS)


def is_remover_folder_or_name(name: str) -> bool:
    """Whether ``open_remover`` may open it. Other text that looks like a hash may be a workspace's model."""
    return name in NAMES or Path(name).exists() or not _HASH.fullmatch(name)


_Asked = tuple[int | None, SamplingPrecision | None, str | None]
"""Steps, precision and profile that a user asks for."""


def _recorded(place: Workspace, record: ModelRecord, asked: _Asked, title: str) -> OpenedRemover:
    folder = place.fetched(record.path)
    absent = [name for name in record.weights if not (folder / name).is_file()]
    if absent or not folder.is_dir():
        raise ModelError(
            f"{folder}: model {record.hash} lacks {', '.join(absent) or 'its folder'}; restore it from a "
            "backup, or choose another with `cleanplate model list`"
        )
    recorded = record.settings.get("sampling")
    own = None if recorded is None else SamplingConfig.model_validate(recorded)
    return _rorem(folder, asked, title, own)


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


def _object_clear(
    folder: Path, steps: int | None, precision: SamplingPrecision | None, title: str
) -> OpenedRemover:
    if not folder.is_dir():
        raise ModelError(f"{folder}: holds no model; run `cleanplate train shipped-object-clear`")
    if (folder / RELEASED_TOKEN).is_dir():
        pipeline = ObjectClearPipeline.of_network(read_released_object_clear(folder))
    else:
        pipeline = ObjectClearPipeline.from_pretrained(folder)
    pipeline.to(network_device())
    return OpenedRemover(ObjectClearRemover(pipeline, steps, precision=precision or "float32"), title)


def _attended_fill(steps: int | None, precision: SamplingPrecision | None) -> OpenedRemover:
    title = "PatchMatch, where the shipped ObjectClear attends"
    attentive = _object_clear(OBJECT_CLEAR_FOLDER, steps, precision, title).remover
    assert isinstance(attentive, ObjectClearRemover)
    return OpenedRemover(AttendedFill(attentive, PatchMatchFill()), title)


def _rorem(folder: Path, asked: _Asked, title: str, recorded: SamplingConfig | None = None) -> OpenedRemover:
    """``recorded`` is how a workspace's model samples, if its record says so."""
    steps, precision, profile = asked
    network = network_at(folder).to(network_device())
    if profile is None:
        own = recorded or sampling_at(folder, network)
    else:
        own = _sampling_of(_profile_named(profile), network)
    given = {"steps": steps, "precision": precision}
    changed = {name: value for name, value in given.items() if value is not None}
    remover = InpaintingRemover(network, SamplingConfig(**{**own.model_dump(), **changed}))
    return OpenedRemover(AnySizeRemover(remover, short_side_of(network.unet, network.vae)), title)


def sampling_at(folder: Path, network: InpaintingNetwork) -> SamplingConfig:
    """How a folder's network samples if nothing else is said.

    A folder that ``tasks.registry.store.record`` wrote says so itself in its card. Otherwise a network with
    text encoders, or of SDXL's size, samples as the profile full says, and a smaller one as tiny says. A
    distilled network has its own few steps.

    Args:
        folder: The folder that the network was read from.
        network: Its schedule says whether it was distilled.

    Raises:
        ModelError: If the folder's card is damaged.
    """
    card = folder / CARD_FILE
    if card.is_file():
        try:
            recorded = json.loads(card.read_text()).get("settings", {}).get("sampling")
            if recorded is not None:
                return SamplingConfig.model_validate(recorded)
        except (ValueError, AttributeError) as error:
            raise ModelError(f"{card}: cannot be read ({first_fault(error)}); delete it") from error
    large = is_published_layout(folder) or short_side_of(network.unet, network.vae) >= _FULL_PX
    return _sampling_of(PROFILES["full" if large else "tiny"], network)


def _sampling_of(profile: Profile, network: InpaintingNetwork) -> SamplingConfig:
    is_distilled = isinstance(network.scheduler, LCMScheduler)
    return profile.distilled_sampling if is_distilled else profile.sampling


def _profile_named(name: str) -> Profile:
    try:
        return profile_of(name)
    except ValueError as error:
        raise InputError("--profile", str(error)) from error
