"""Register the Prefect automation that starts crashed runs again. Repeated registration changes nothing."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypesOrUnknown, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.maintenance.reaper import TAG, ReaperConfig

BRING_BACK = "cleanplate: crashed runs are started again"


def crashed_to_retry(max_restarts: int) -> AutomationCore:
    """Build the automation: a crashed run with fewer than ``max_restarts`` starts awaits its retry."""
    return AutomationCore(
        name=BRING_BACK,
        description=f"A run tagged {TAG} that crashed is started again, up to {max_restarts} starts in all.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"prefect.flow-run.Crashed"},
            match=ResourceSpecification(
                {
                    "prefect.resource.id": "prefect.flow-run.*",
                    "prefect.run-count": [str(count) for count in range(max_restarts)],
                }
            ),
            match_related=ResourceSpecification(
                {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
            ),
            threshold=1,
        ),
        actions=list[ActionTypesOrUnknown](
            [
                ChangeFlowRunState(
                    state=StateType.SCHEDULED,
                    name="AwaitingRetry",
                    message="crashed; started again by cleanplate",
                    force=False,
                )
            ]
        ),
    )


def make_automations(client: SyncPrefectClient, max_restarts: int = ReaperConfig().max_restarts) -> None:
    """Register the automation, or update the existing one."""
    wanted = crashed_to_retry(max_restarts)
    present = client.read_automations_by_name(BRING_BACK)
    for automation in present:
        client.update_automation(automation.id, wanted)
    if not present:
        client.create_automation(wanted)
