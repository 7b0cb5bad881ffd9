"""Removers by the names people use for them."""

from collections.abc import Callable
from pathlib import Path

from data_specs.errors import FlowError, ModelError
from models.protocols import RemovalModel
from models.remover import InpaintingRemover, SamplingConfig
from models.telea import TeleaFill
from tasks.model_store import BASE_FOLDER, shared_network_at
from tasks.workspace import Workspace


def remover_named(name: str, workspace: Path | None) -> RemovalModel:
    """The remover of a name, loaded once a process.

    Args:
        name: ``telea``, ``base``, ``rorem``, or a folder with an inpainting network.
        workspace: Where ``rorem`` looks for its champion.

    Raises:
        ModelError: If it is neither a name nor a folder, or its weights cannot be read.
        FlowError: If the champion is asked for where there is none.
    """
    if name in NAMED:
        return NAMED[name](workspace)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(f"{name}: neither {', '.join(NAMED)} nor a folder with a model")
    return _network_remover(folder.resolve())


def _champion(workspace: Path | None) -> RemovalModel:
    """The remover the cycle has promoted last."""
    if workspace is None:
        raise FlowError("rorem is a workspace's champion and no workspace is in use; name `base` or a folder")
    place = Workspace.existing(workspace)
    champion = place.ledger().champion("remover")
    if champion is None:
        raise FlowError(
            f"{workspace} has no remover yet; run `cleanplate cycle` first, or name `base`, which ships"
        )
    return _network_remover((place.root / champion.path).resolve())


def _network_remover(folder: Path) -> RemovalModel:
    return InpaintingRemover(shared_network_at(folder), SamplingConfig())


NAMED: dict[str, Callable[[Path | None], RemovalModel]] = {
    "telea": lambda _: TeleaFill(),
    "base": lambda _: _network_remover(BASE_FOLDER),
    "rorem": _champion,
}
"""A line a remover; each takes the workspace in use, if there is one."""
