"""Letting a round go on by hand."""

from data_specs.errors import FlowError
from tasks.review.ending import Ending, batch_ending, settle
from tasks.review.suspended_runs import Wake, wake_runs
from tasks.storage.workspace import Workspace


def resume(workspace: Workspace, batch: str, decision: Ending | None) -> list[Wake]:
    """Wake whoever waits for a batch that is complete, or that a person decides about.

    The decision is written to the ledger first: a round without a deployment finds it there when it is
    run again, and a suspended one whatever its form says.

    Returns:
        What became of each run that ever waited for it.

    Raises:
        FlowError: If answers are missing and nothing is decided.
        UnknownKeyError: If there is no such batch.
    """
    counts = workspace.ledger().batch_counts(batch)
    if decision is not None:
        settle(workspace, batch, decision, "by `cleanplate review resume`")
    ending = batch_ending(workspace, batch) or ("continue" if counts.left == 0 else None)
    if ending is None:
        raise FlowError(
            f"{counts.left} of {counts.wanted} answers of {batch} are missing; wait for them, or decide with "
            "--decision continue or --decision abandon"
        )
    return wake_runs(workspace, batch, {"decision": ending})
