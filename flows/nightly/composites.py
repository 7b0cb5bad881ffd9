"""Nightly compositing: each night new composites of the images there are, into the pool."""

from prefect import flow
from pydantic import Field

from data_specs.composite import CompositingResult
from flows.nightly.nights import NightSettings, close_night, done_before, night_of, night_run_name, night_seed
from flows.objectclear.compositing import CompositingConfig, objectclear_compositing
from flows.runtime.runs import fail_cleanly
from tasks.storage.workspace import Workspace

WORK = "nightly compositing"


class NightlyCompositingConfig(CompositingConfig, NightSettings):
    """Which night, what its composites are made of, and where they go."""

    add_to_pool: bool = Field(
        default=True,
        description="Whether composites become pool items. Nightly runs and rounds draw them. Their "
        "ground truth is stored apart.",
    )


@flow(
    name="nightly-compositing",
    flow_run_name=night_run_name("compositing", NightlyCompositingConfig),
)
@fail_cleanly
def nightly_compositing(config: NightlyCompositingConfig) -> CompositingResult:
    """Compose the night's draws; cut-outs and plates of earlier nights are not made again.

    Started again for a night that is done, it does nothing; after a kill it goes on where it stood.

    Raises:
        InputError: When a source as a whole cannot be read.
        FlowError: When not one composite could be made.
    """
    workspace, night = Workspace.open(config.workspace), night_of(config)
    known = done_before(workspace, WORK, night, CompositingResult)
    if known is not None:
        return known
    compositing = config.compositing.model_copy(update={"seed": night_seed(config.compositing.seed, night)})
    # As a function: a subflow's run of its own would stay "Running" when both are killed.
    result = objectclear_compositing.fn(config.model_copy(update={"compositing": compositing}))
    close_night(config, workspace, WORK, night, result)
    return result
