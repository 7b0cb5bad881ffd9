"""Resume the runs that wait for a batch once it is complete, however long that takes."""

import threading
from types import TracebackType
from typing import Self

import httpx

from data_specs.errors import InputError, LedgerError
from tasks.review.suspended_runs import batch_ending, tell_complete, wake_runs
from tasks.storage.workspace import Workspace

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 30.0


class Resumer:
    """A thread beside the review server that tries again until it succeeds. A restart loses nothing.

    A batch may be complete before its run has suspended, or while Prefect is down.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._noticed = threading.Event()
        self._pending: set[str] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="resumer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for batch in self._workspace.ledger().batches.all():
            self.notice(batch.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._noticed.set()
        self._thread.join()

    def notice(self, batch: str) -> None:
        """Check a batch now and until its runs continue. Called after each last answer; never blocks."""
        self._pending.add(batch)
        self._noticed.set()

    def _run(self) -> None:
        pause = _FIRST_SECONDS
        while not self._stopping:
            news = self._noticed.wait(pause if self._pending else None)
            self._noticed.clear()
            pause = _FIRST_SECONDS if news else min(2 * pause, _LONGEST_SECONDS)
            for batch in list(self._pending):
                # Removed before the check: a notice during the check is not lost.
                self._pending.discard(batch)
                if not (self._stopping or _settled(self._workspace, batch)):
                    self._pending.add(batch)


def _settled(workspace: Workspace, batch: str) -> bool:
    """Like ``wake_if_complete``, but False if the ledger or Prefect fails."""
    try:
        return wake_if_complete(workspace, batch)
    except (InputError, LedgerError, httpx.HTTPError):
        return False


def wake_if_complete(workspace: Workspace, batch: str) -> bool:
    """Tell Prefect about a complete batch and resume the runs that wait for it.

    Returns:
        False if a run may still be suspended: try again.

    Raises:
        httpx.HTTPError: If Prefect cannot be reached.
        LedgerError: If the ledger cannot be read.
    """
    ledger = workspace.ledger()
    counts = ledger.batches.counts(batch)
    if counts.left > 0 or batch_ending(workspace, batch) is not None:
        return True
    tell_complete(workspace, batch, counts.model_dump())
    woken = wake_runs(workspace, batch, {"decision": "continue"})
    return all(run.state in ("resumed", "over") for run in woken)
