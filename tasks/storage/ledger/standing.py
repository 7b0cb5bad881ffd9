"""Which answers stand: all but those undone and those of excluded people; and what they leave to be asked."""

from collections.abc import Sequence

import sqlalchemy as sa

from data_specs import ledger as tables

reviews, undos, items = tables.reviews, tables.review_undos, tables.review_items


def stands() -> sa.ColumnElement[bool]:
    """True of a row of ``reviews`` whose answer was not undone, by somebody who is not excluded."""
    excluded = sa.select(tables.people.c.name).where(tables.people.c.excluded)
    undone = sa.exists().where(undos.c.review == reviews.c.event)
    by_excluded = sa.and_(reviews.c.kind == "person", reviews.c.reviewer.in_(excluded))
    return sa.not_(sa.or_(undone, by_excluded))


def recount(connection: sa.Connection, batch: str, candidates: Sequence[str]) -> None:
    """Sets what is left to be asked of some items of a batch, from the answers that stand."""
    _recount(connection, sa.and_(items.c.batch == batch, items.c.candidate.in_(candidates)))


def recount_person(connection: sa.Connection, person: str) -> None:
    """Sets what is left to be asked of every item a person has answered."""
    answered = sa.exists().where(
        reviews.c.reviewer == person,
        reviews.c.batch == items.c.batch,
        reviews.c.candidate == items.c.candidate,
    )
    _recount(connection, answered)


def _recount(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    # Held first, in one order for all: an UPDATE that had to wait would count from its older view.
    connection.execute(
        sa.select(items.c.position).where(which).order_by(*items.primary_key).with_for_update()
    )
    answers = (
        sa.select(sa.func.count(sa.distinct(reviews.c.reviewer)))
        .where(reviews.c.candidate == items.c.candidate, reviews.c.batch == items.c.batch, stands())
        .correlate(items)
        .scalar_subquery()
    )
    left = items.c.answers_wanted - answers
    connection.execute(sa.update(items).where(which).values(answers_left=sa.case((left > 0, left), else_=0)))
