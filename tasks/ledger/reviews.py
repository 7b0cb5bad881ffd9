"""Reviews: events that are added and never changed; triggers in the database see to it."""

from collections.abc import Sequence

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.review import Review
from tasks.ledger.base import LedgerBase, chunked, insert_new


class ReviewLedger(LedgerBase):
    """The reviews' part of the ledger."""

    def record_reviews(self, reviews: Sequence[Review]) -> None:
        """Adds reviews; an event already there stays as it was."""
        with self._writing() as connection:
            for chunk in chunked(reviews):
                insert_new(connection, tables.reviews, [each.model_dump() for each in chunk])

    def reviews(self, candidates: Sequence[str] | None = None) -> list[Review]:
        """The reviews of these candidates (None = all), by the time of the answer."""
        query = sa.select(tables.reviews)
        with self._reading() as connection:
            if candidates is None:
                rows = list(connection.execute(query).mappings())
            else:
                rows = [
                    row
                    for chunk in chunked(list(dict.fromkeys(candidates)))
                    for row in connection.execute(
                        query.where(tables.reviews.c.candidate.in_(chunk))
                    ).mappings()
                ]
        found = [Review(**row) for row in rows]
        return sorted(found, key=lambda review: (review.answered_at, review.event))
