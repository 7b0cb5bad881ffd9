"""Report each crash once in Prefect's process worker: `python -m deploy.process_worker worker start …`.

When a run's process dies, Prefect 3.9.1's worker reports the crash. It then looks for hooks in a process that
imports the flow, which takes seconds, and reports the crash again. The run may have started again meanwhile.
The second report would mark the new attempt as crashed while it works, and another attempt would start
in parallel.
"""

import runpy
import sys
from datetime import UTC, datetime

import httpx
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.workers import process

from data_specs.errors import VersionError
from data_specs.tested_versions import require_tested

WORKER_TYPE = "cleanplate-process"
"""The type of this worker and of its pools. Prefect's own process worker does not start on such a pool."""


class ProcessWorker(process.ProcessWorker):
    """Prefect's process worker, which reports a crash once."""

    type = WORKER_TYPE

    async def run(
        self,
        flow_run: FlowRun,
        configuration: process.ProcessJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> process.ProcessWorkerResult:
        """Run the flow run to its end.

        If a death was already reported, the result does not report it again.
        """
        began = datetime.now(UTC)
        result = await super().run(flow_run, configuration, task_status)
        if result.status_code and await self._crashed_since(flow_run, began):
            return process.ProcessWorkerResult(status_code=0, identifier=result.identifier)
        return result

    async def _crashed_since(self, run: FlowRun, moment: datetime) -> bool:
        try:
            states = await self.client.read_flow_run_states(run.id)
        except httpx.HTTPError:
            return False  # The server was unreachable and got no report.
        return any(state.is_crashed() and state.timestamp > moment for state in states)


def run_prefect(arguments: list[str]) -> None:
    """Run Prefect's command line with these arguments, in this process. End it if Prefect was not tested."""
    try:
        require_tested("prefect", "the worker")
    except VersionError as error:
        sys.exit(f"cleanplate: {error}")
    sys.argv = ["prefect", *arguments]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_prefect(sys.argv[1:])
