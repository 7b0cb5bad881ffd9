"""Collect answers from people or from the oracle: every reviewer implements one small protocol."""

from collections.abc import Sequence
from typing import Protocol

from data_specs.candidate import Candidate
from data_specs.review import Review


class Reviewer(Protocol):
    """Anyone who answers YES, NO or skip."""

    def answer(self, candidates: Sequence[Candidate]) -> list[Review]:
        """One review for each candidate. The same candidate always gives the same event."""
        ...
