"""How a batch ends: people have answered it, or an engineer went on without them."""

from typing import TYPE_CHECKING, Literal

from data_specs.review_batch import BatchEventKind

if TYPE_CHECKING:
    from tasks.storage.workspace import Workspace

Ending = Literal["continue", "abandon"]
_EVENTS: dict[Ending, BatchEventKind] = {"continue": "continued", "abandon": "abandoned"}


def settle(workspace: "Workspace", batch: str, ending: Ending, reason: str = "") -> None:
    """Record an ending; told again it changes nothing, and the first one stands.

    Raises:
        UnknownKeyError: When there is no such batch.
    """
    if batch_ending(workspace, batch) is None:
        workspace.ledger().settle_batch(batch, _EVENTS[ending], reason)


def batch_ending(workspace: "Workspace", batch: str) -> Ending | None:
    """How a batch ended; None while it is open."""
    last = workspace.ledger().batch_events(batch)[-1].kind
    return next((ending for ending, kind in _EVENTS.items() if kind == last), None)
