"""Refuse a request with an HTTP status and one sentence that says what to do."""

from data_specs.errors import (
    CleanplateError,
    LeaseExpiredError,
    LeaseFinishedError,
    NotYoursError,
    UnknownKeyError,
)

_STATUS: dict[type[CleanplateError], int] = {
    UnknownKeyError: 404,
    NotYoursError: 403,
    LeaseFinishedError: 409,
    LeaseExpiredError: 410,
}


class Refusal(CleanplateError):
    """The server refuses this request.

    Args:
        status: The HTTP status.
        sentence: The reason, and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def status_of(error: CleanplateError) -> int:
    """The HTTP status of a deliberate error. 503 for a fault of ours that may pass."""
    if isinstance(error, Refusal):
        return error.status
    return _STATUS.get(type(error), 503)
