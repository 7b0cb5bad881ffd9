"""The session's Prefect server, for tests of deployments."""

from tests.flows.conftest import prefect_server
from tests.tasks.conftest import filmed, studio

__all__ = ["filmed", "prefect_server", "studio"]
