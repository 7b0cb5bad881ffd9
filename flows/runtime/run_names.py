"""Run names that a run's settings and the ledger tell: which night it is for, which version it is on."""

from collections.abc import Callable
from typing import Any, TypeVar

from prefect.runtime import flow_run
from pydantic import BaseModel

from data_specs.errors import CleanplateError

Config = TypeVar("Config", bound=BaseModel)


def run_name(kind: type[Config], name: Callable[[Config], str]) -> Callable[[], str]:
    """Makes a run's name as it starts, for ``flow_run_name``.

    Where the workspace cannot tell, the run bears its flow's name, and then says itself what is missing.

    Args:
        kind: The flow's settings, its parameter ``config``.
        name: Words them.
    """

    def named() -> str:
        config: Any = flow_run.get_parameters()["config"]
        try:
            return name(kind.model_validate(config))
        except CleanplateError:
            return str(flow_run.get_flow_name())

    return named
