"""Prefect's process worker, telling of each crash once: `python -m deploy.process_worker worker start …`.

When a run's process dies, Prefect 3.9.1's worker says so, looks for hooks in a process that imports the flow,
which takes seconds, and says so again. By then the run may have been started again: the second word would
declare the new attempt dead while it works, and another one would be started beside it.
"""

import runpy
import sys
import warnings
from datetime import UTC, datetime

import httpx
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.workers import process

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Prefect warns that its own is replaced under the name "process".

    class ProcessWorker(process.ProcessWorker):
        """Takes the place of Prefect's for pools of type ``process``."""

        async def run(
            self,
            flow_run: FlowRun,
            configuration: process.ProcessJobConfiguration,
            task_status: TaskStatus[int] | None = None,
        ) -> process.ProcessWorkerResult:
            """Run it to its end; a death that was told of is no news, so its result says nothing of it."""
            began = datetime.now(UTC)
            result = await super().run(flow_run, configuration, task_status)
            if result.status_code and await self._crashed_since(flow_run, began):
                return process.ProcessWorkerResult(status_code=0, identifier=result.identifier)
            return result

        async def _crashed_since(self, run: FlowRun, moment: datetime) -> bool:
            try:
                states = await self.client.read_flow_run_states(run.id)
            except httpx.HTTPError:
                return False  # The server was away and was not told.
            return any(state.is_crashed() and state.timestamp > moment for state in states)


def run_prefect(arguments: list[str]) -> None:
    """Prefect's command line with these arguments, in this process."""
    sys.argv = ["prefect", *arguments]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_prefect(sys.argv[1:])
