"""Prefect's process worker, telling of each crash once: `python -m deploy.process_worker worker start …`.

When a run's process dies, Prefect 3.8.8's worker says so, looks for hooks in a process that imports the flow,
which takes seconds, and says so again. By then the run may have been started again: the second word would
declare the new attempt dead while it works, and another one would be started beside it.
"""

import runpy
import sys
import warnings

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.workers import process

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Prefect warns that its own is replaced under the name "process".

    class ProcessWorker(process.ProcessWorker):
        """Takes the place of Prefect's for pools of type ``process``."""

        async def _propose_crashed_state(
            self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
        ) -> None:
            """Tell of a crash, unless the run has crashed since this worker took it: that was this one."""
            if not await self._was_told(flow_run):
                await super()._propose_crashed_state(flow_run, message, client)

        async def _was_told(self, taken: FlowRun) -> bool:
            assert taken.state is not None, "a worker takes scheduled runs"
            try:
                states = await self.client.read_flow_run_states(taken.id)
            except httpx.HTTPError:
                return False  # The server was away; Prefect's own word has its own patience.
            return any(state.is_crashed() and state.timestamp > taken.state.timestamp for state in states)


def run_prefect(arguments: list[str]) -> None:
    """Prefect's command line with these arguments, in this process."""
    sys.argv = ["prefect", *arguments]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_prefect(sys.argv[1:])
