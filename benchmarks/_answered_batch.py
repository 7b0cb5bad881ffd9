"""Fill a review batch with answers, as people gave them earlier, without a server."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.keys import derive_key
from data_specs.review import Review
from tasks.storage.ledger import Ledger

BEGAN = datetime(2026, 11, 25, tzinfo=UTC)
_SLICE = 5_000


def answer_first(ledger: Ledger, batch: str, candidates: Sequence[str], people: Sequence[str]) -> None:
    """Answer candidates in the order of the queue, a second apart. Each person in turn gives one answer."""
    for start in range(0, len(candidates), _SLICE):
        reviews = [
            Review(
                event=derive_key("earlier answer", batch, candidate, people[number % len(people)]),
                candidate=candidate,
                decision="yes" if number % 3 else "no",
                reviewer=people[number % len(people)],
                kind="person",
                answered_at=BEGAN + timedelta(seconds=number),
                batch=batch,
                seconds=2.0,
                page_version="earlier",
            )
            for number, candidate in enumerate(candidates[start : start + _SLICE], start=start)
        ]
        ledger.reviews.record(reviews)
        leases = [
            {
                "lease": derive_key("earlier lease", review.event),
                "batch": batch,
                "candidate": review.candidate,
                "person": review.reviewer,
                "state": "answered",
                "expires_at": review.answered_at,
            }
            for review in reviews
        ]
        with ledger._database.writing() as connection:
            connection.execute(sa.insert(tables.leases), leases)
