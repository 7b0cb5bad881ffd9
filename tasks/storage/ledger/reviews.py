"""Reviews: events that are added and never changed; triggers in the database see to it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.review import Decision, Review
from tasks.storage.ledger.database import LedgerBase, chunked, insert_new
from tasks.storage.ledger.standing import recount, stands


class ReviewLedger(LedgerBase):
    """The reviews' part of the ledger."""

    def record_reviews(self, reviews: Sequence[Review]) -> None:
        """Adds reviews; an event already there stays as it was."""
        asked: dict[str, list[str]] = defaultdict(list)
        for each in reviews:
            if each.batch is not None:
                asked[each.batch].append(each.candidate)
        with self._writing() as connection:
            for chunk in chunked(reviews):
                insert_new(connection, tables.reviews, [each.model_dump() for each in chunk])
            for batch, candidates in asked.items():
                for chunk in chunked(candidates):
                    recount(connection, batch, chunk)

    def reviews(self, candidates: Sequence[str] | None = None) -> list[Review]:
        """The reviews of these candidates (None = all), by the time of the answer; undone ones too."""
        query = sa.select(tables.reviews)
        with self._reading() as connection:
            return _sorted(_chosen(connection, query, candidates))

    def standing_reviews(self, batch: str) -> list[Review]:
        """A batch's answers that stand, by time: none that was undone or is an excluded person's."""
        query = sa.select(tables.reviews).where(tables.reviews.c.batch == batch, stands())
        with self._reading() as connection:
            return _sorted(_chosen(connection, query, None))

    def batch_reviews(self, batch: str) -> list[Review]:
        """A batch's answers that were not undone, by time; those of excluded people too."""
        undone = sa.exists().where(tables.review_undos.c.review == tables.reviews.c.event)
        query = sa.select(tables.reviews).where(tables.reviews.c.batch == batch, sa.not_(undone))
        with self._reading() as connection:
            return _sorted(_chosen(connection, query, None))

    def decisions(self, candidates: Sequence[str]) -> dict[str, Decision]:
        """What is decided about these candidates; those without an answer that counts are left out.

        Each reviewer's newest answer is one vote; see `consensus`. Answers that were undone, answers of
        excluded people, and answers to gold items do not count: a gold answer measures its person and
        never joins the dataset.
        """
        items = tables.review_items
        gold = sa.exists().where(
            items.c.batch == tables.reviews.c.batch,
            items.c.candidate == tables.reviews.c.candidate,
            items.c.gold.is_not(None),
        )
        query = sa.select(tables.reviews).where(stands(), sa.not_(gold))
        votes: dict[str, dict[str, Decision]] = defaultdict(dict)
        with self._reading() as connection:
            for review in _sorted(_chosen(connection, query, candidates)):
                votes[review.candidate][f"{review.kind} {review.reviewer}"] = review.decision
        return {candidate: consensus(list(given.values())) for candidate, given in votes.items()}


def consensus(votes: Sequence[Decision]) -> Decision:
    """The majority of YES and NO, a tie being NO; ``skip`` where nobody said either."""
    yes, no = votes.count("yes"), votes.count("no")
    if yes + no == 0:
        return "skip"
    return "yes" if yes > no else "no"


def _chosen(
    connection: sa.Connection, query: sa.Select, candidates: Sequence[str] | None
) -> Iterator[Review]:
    if candidates is None:
        chunks = [query]
    else:
        column = tables.reviews.c.candidate
        chunks = [query.where(column.in_(chunk)) for chunk in chunked(list(dict.fromkeys(candidates)))]
    for chunk in chunks:
        yield from (Review(**row) for row in connection.execute(chunk).mappings())


def _sorted(reviews: Iterator[Review]) -> list[Review]:
    return sorted(reviews, key=lambda review: (review.answered_at, review.event))
