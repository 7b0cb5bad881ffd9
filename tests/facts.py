"""A result of no kind in particular, for tests that only ask whether the ledger keeps it."""

from typing import Any

from pydantic import RootModel


class Facts(RootModel[dict[str, Any]]):
    """Any facts that JSON can hold."""
