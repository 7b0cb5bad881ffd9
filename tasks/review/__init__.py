"""People's work, and who may stand in for it: every reviewer answers through one small seam."""

from collections.abc import Sequence
from typing import Protocol

from data_specs.candidate import Candidate
from data_specs.review import Review


class Reviewer(Protocol):
    """Anyone who answers YES, NO or skip."""

    def answer(self, candidates: Sequence[Candidate]) -> list[Review]:
        """One review a candidate; the same candidate always gives the same event."""
        ...
