"""Record reviews and scores. Reviews are only added; database triggers refuse any change."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from data_specs import ledger as tables
from data_specs.review import Decision, Review
from tasks.storage.ledger.database import LedgerPart, chunked, insert_new
from tasks.storage.ledger.kept_counts import count_answers, stands


class ReviewLedger(LedgerPart):
    """The part of the ledger for reviews."""

    def record(self, reviews: Sequence[Review]) -> None:
        """Add reviews. An existing event stays as it was."""
        # The first of an event that is given twice stays, as in the ledger.
        given = list({review.event: review for review in reversed(reviews)}.values())
        with self._database.writing() as connection:
            _hold_people(connection, {review.reviewer for review in given})
            new: set[str] = set()
            for chunk in chunked(given):
                new |= _add(connection, chunk)
            count_answers(connection, [review for review in given if review.event in new])

    def all(self, candidates: Sequence[str] | None = None) -> list[Review]:
        """The reviews of these candidates (None = all), by the time of the answer, including undone ones."""
        query = sa.select(tables.reviews)
        with self._database.reading() as connection:
            return _sorted(_chosen(connection, query, candidates))

    def valid(self, batch: str) -> list[Review]:
        """A batch's valid answers, by time: neither undone nor from a disabled person."""
        query = sa.select(tables.reviews).where(tables.reviews.c.batch == batch, stands())
        with self._database.reading() as connection:
            return _sorted(_chosen(connection, query, None))

    def shared(self, people: int) -> list[Review]:
        """Valid YES and NO answers of batches, by time, to candidates that several people answered.

        Answers to gold items are left out.

        Args:
            people: How many different people must have answered YES or NO, at least.
        """
        table, items = tables.reviews, tables.review_items
        asked = sa.exists().where(
            items.c.batch == table.c.batch, items.c.candidate == table.c.candidate, items.c.gold.is_not(None)
        )
        said = sa.and_(table.c.batch.is_not(None), table.c.decision != "skip", stands(), sa.not_(asked))
        shared = (
            sa.select(table.c.candidate)
            .where(said)
            .group_by(table.c.candidate)
            .having(sa.func.count(sa.distinct(table.c.reviewer)) >= people)
        )
        query = sa.select(table).where(said, table.c.candidate.in_(shared))
        with self._database.reading() as connection:
            return _sorted(_chosen(connection, query, None))

    def in_batch(self, batch: str) -> list[Review]:
        """A batch's answers that were not undone, by time, including those of disabled people."""
        undone = sa.exists().where(tables.review_undos.c.review == tables.reviews.c.event)
        query = sa.select(tables.reviews).where(tables.reviews.c.batch == batch, sa.not_(undone))
        with self._database.reading() as connection:
            return _sorted(_chosen(connection, query, None))

    def decisions(self, candidates: Sequence[str]) -> dict[str, Decision]:
        """The decisions about these candidates. Candidates without a valid answer are left out.

        The newest answer of each reviewer is one vote; see `consensus`. Undone answers, answers of disabled
        people and answers to gold items do not count. A gold answer measures its person and never joins the
        dataset.
        """
        items = tables.review_items
        gold = sa.exists().where(
            items.c.batch == tables.reviews.c.batch,
            items.c.candidate == tables.reviews.c.candidate,
            items.c.gold.is_not(None),
        )
        query = sa.select(tables.reviews).where(stands(), sa.not_(gold))
        votes: dict[str, dict[str, Decision]] = defaultdict(dict)
        with self._database.reading() as connection:
            for review in _sorted(_chosen(connection, query, candidates)):
                votes[review.candidate][f"{review.kind} {review.reviewer}"] = review.decision
        return {candidate: consensus(list(given.values())) for candidate, given in votes.items()}


def consensus(votes: Sequence[Decision]) -> Decision:
    """The majority of YES and NO. A tie is NO. ``skip`` if nobody said either."""
    yes, no = votes.count("yes"), votes.count("no")
    if yes + no == 0:
        return "skip"
    return "yes" if yes > no else "no"


def _hold_people(connection: sa.Connection, names: set[str]) -> None:
    """Disabling one of these people waits until their answers of this transaction count."""
    people = tables.people
    for chunk in chunked(sorted(names)):
        query = sa.select(people.c.name).where(people.c.name.in_(chunk)).order_by(people.c.name)
        connection.execute(query.with_for_update(read=True))


def _add(connection: sa.Connection, reviews: Sequence[Review]) -> set[str]:
    """Add reviews. Returns the events that are new."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(tables.reviews).on_conflict_do_nothing(index_elements=["event"])
    rows = [review.model_dump() for review in reviews]
    return set(connection.scalars(statement.returning(tables.reviews.c.event), rows)) if rows else set()


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


# Scores: the score that each discriminator gives to each candidate.


class ScoreLedger(LedgerPart):
    """The part of the ledger for scores."""

    def record(self, discriminator_hash: str, scores: Mapping[str, float]) -> None:
        """Add a discriminator's scores, 0..1 by candidate. An existing one stays as it was."""
        rows = [
            {"discriminator": discriminator_hash, "candidate": candidate, "score": float(score)}
            for candidate, score in scores.items()
        ]
        with self._database.writing() as connection:
            for chunk in chunked(rows):
                insert_new(connection, tables.scores, chunk)

    def of(self, discriminator_hash: str, candidates: Sequence[str] | None = None) -> dict[str, float]:
        """A discriminator's scores of these candidates (None = all), by key. Unscored ones are left out."""
        table = tables.scores
        query = sa.select(table.c.candidate, table.c.score).where(table.c.discriminator == discriminator_hash)
        scores: dict[str, float] = {}
        with self._database.reading() as connection:
            if candidates is None:
                scores.update({key: score for key, score in connection.execute(query)})
            else:
                for chunk in chunked(candidates):
                    rows = connection.execute(query.where(table.c.candidate.in_(chunk)))
                    scores.update({key: score for key, score in rows})
        return dict(sorted(scores.items()))

    def newest(self, candidates: Sequence[str]) -> dict[str, float]:
        """Each candidate's score by the newest discriminator that scored it, without unscored candidates."""
        table, models = tables.scores, tables.models
        query = (
            sa.select(table.c.candidate, table.c.score)
            .join(models, models.c.hash == table.c.discriminator)
            .order_by(models.c.created_at, models.c.hash)
        )
        scores: dict[str, float] = {}
        with self._database.reading() as connection:
            for chunk in chunked(candidates):
                rows = connection.execute(query.where(table.c.candidate.in_(chunk)))
                scores.update({key: score for key, score in rows})
        return scores
