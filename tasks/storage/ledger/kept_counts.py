"""Tell which answers are valid, and keep the counts that follow in the transaction that changes them.

Each transaction changes items first, then the counts of answers, then places in the queue, then the counts of
batches, each in one order. On PostgreSQL nobody then waits in a circle.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from data_specs import ledger as tables
from data_specs.review import Review
from data_specs.review_batch import ReviewItem
from tasks.storage.ledger.database import chunked

reviews, undos, items = tables.reviews, tables.review_undos, tables.review_items
answer_counts, batch_counts, recounts = tables.answer_counts, tables.batch_counts, tables.recounts

_STEP = 1_000
"""Answers that one step of a recount counts anew, about 15 ms of SQLite's write lock."""


def stands() -> sa.ColumnElement[bool]:
    """True for a row of ``reviews`` that was not undone and whose person is not disabled."""
    undone = sa.exists().where(undos.c.review == reviews.c.event)
    return sa.not_(sa.or_(undone, _by_disabled(reviews)))


def enabled() -> sa.ColumnElement[bool]:
    """True for a row of ``answer_counts`` whose person is not disabled."""
    return sa.not_(_by_disabled(answer_counts))


def _by_disabled(table: sa.Table) -> sa.ColumnElement[bool]:
    disabled = sa.select(tables.people.c.name).where(tables.people.c.excluded)
    return sa.and_(table.c.kind == "person", table.c.reviewer.in_(disabled))


def missing_answers() -> sa.ScalarSelect[int]:
    """How many answers an item of ``review_items`` still wants, counted from its reviews."""
    left = items.c.answers_wanted - sa.func.count(sa.distinct(reviews.c.reviewer))
    return (
        sa.select(sa.case((left > 0, left), else_=0))
        .where(reviews.c.candidate == items.c.candidate, reviews.c.batch == items.c.batch, stands())
        .correlate(items)
        .scalar_subquery()
    )


def start_counts(connection: sa.Connection, batch: str) -> None:
    """Begin the counts of a new batch at 0."""
    figures = {column.name: 0 for column in batch_counts.columns}
    connection.execute(sa.insert(batch_counts).values({**figures, "batch": batch}))


def count_items(connection: sa.Connection, batch: str, new: Sequence[ReviewItem]) -> None:
    """Add new items without answers to a batch's counts."""
    wanted = sum(item.answers_wanted for item in new)
    figures = {"items": len(new), "answers_wanted": wanted, "answers_left": wanted, "complete": 0}
    _add(connection, batch_counts, {(batch,): Counter(figures)})


def count_answers(connection: sa.Connection, answers: Sequence[Review], number: Literal[1, -1] = 1) -> None:
    """Count answers that were just added (1) or undone (-1), and what is left to ask about their items."""
    changes = _Changes(connection)
    of_batch: dict[str, list[Review]] = defaultdict(list)
    for answer in answers:
        if answer.batch is not None:
            of_batch[answer.batch].append(answer)
    for batch, given in sorted(of_batch.items()):
        for chunk in chunked(sorted(given, key=lambda answer: answer.candidate)):
            gold = changes.recount(batch, [answer.candidate for answer in chunk])
            for answer in chunk:
                if answer.candidate in gold:
                    changes.count(answer, gold[answer.candidate], number)
    changes.write()


# Recounts of all items of a person. They go in steps, so that others can answer in between. Where a recount
# stands is in the ledger: whoever asks for items next continues one that was killed.


def start_recount(connection: sa.Connection, person: str) -> None:
    """Note that all items a person has answered must be counted anew, from the first one."""
    query = sa.select(answer_counts.c.batch).where(
        answer_counts.c.kind == "person", answer_counts.c.reviewer == person
    )
    beginning = {"person": person, "answered_at": None, "event": None}
    rows = [{"batch": batch, **beginning} for batch in sorted(connection.scalars(query))]
    if rows:
        statement = _insert(connection, recounts)
        again = {name: statement.excluded[name] for name in ("answered_at", "event")}
        target = [recounts.c.batch, recounts.c.person]
        connection.execute(statement.on_conflict_do_update(index_elements=target, set_=again), rows)


def unfinished(connection: sa.Connection, batch: str) -> list[str]:
    """The people whose recount of a batch is not finished."""
    return list(connection.scalars(sa.select(recounts.c.person).where(recounts.c.batch == batch)))


def recount_step(connection: sa.Connection, person: str) -> bool:
    """Continue a person's recount by one step. Returns whether anything is left to do."""
    query = sa.select(recounts.c.batch).where(recounts.c.person == person).order_by(recounts.c.batch)
    changes, left = _Changes(connection), _STEP
    for batch in connection.scalars(query).all():
        left -= _recount_slice(connection, changes, batch, person, left)
        if left <= 0:
            break
    changes.write()
    return left <= 0


def _recount_slice(
    connection: sa.Connection, changes: "_Changes", batch: str, person: str, count: int
) -> int:
    """Count up to ``count`` of a person's items anew, in the order of the answers. Returns the number."""
    batches = tables.review_batches
    # Whoever leases from the batch must not store a place in the queue that misses what comes back here.
    connection.execute(sa.select(batches.c.name).where(batches.c.name == batch).with_for_update())
    this = sa.and_(recounts.c.batch == batch, recounts.c.person == person)
    place = connection.execute(sa.select(recounts).where(this).with_for_update()).first()
    if place is None:
        return 0
    moment = sa.tuple_(reviews.c.answered_at, reviews.c.event)
    mine = sa.and_(reviews.c.batch == batch, reviews.c.reviewer == person)
    if place.event is not None:
        mine = sa.and_(mine, moment > _moment(place.answered_at, place.event))
    query = sa.select(reviews.c.answered_at, reviews.c.event).where(mine)
    query = query.order_by(reviews.c.answered_at, reviews.c.event).offset(count - 1).limit(1)
    last = connection.execute(query).first()
    if last is None:
        connection.execute(sa.delete(recounts).where(this))
        return len(changes.recount(batch, sa.select(reviews.c.candidate).where(mine)))
    mine = sa.and_(mine, moment <= _moment(last.answered_at, last.event))
    changes.recount(batch, sa.select(reviews.c.candidate).where(mine))
    values = {"answered_at": last.answered_at, "event": last.event}
    connection.execute(sa.update(recounts).where(this).values(values))
    return count


def _moment(answered_at: datetime, event: str) -> sa.Tuple:
    return sa.tuple_(sa.literal(answered_at, tables.UtcTime), sa.literal(event))


class _Changes:
    """What a transaction changes in the counts. All is written at its end."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._answers: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        self._batches: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        self._returned: dict[str, int] = {}
        """The first position of each batch that wants more answers than before."""

    def recount(self, batch: str, candidates: Sequence[str] | sa.Select[tuple[str]]) -> dict[str, str | None]:
        """Update what is left to ask about items. Returns the known answer of each, None without one."""
        which = sa.and_(items.c.batch == batch, items.c.candidate.in_(candidates))
        # Locked first, in one order for all: an UPDATE that had to wait would count from its older view.
        query = (
            sa.select(items.c.candidate, items.c.position, items.c.answers_left, items.c.gold)
            .where(which)
            .order_by(items.c.batch, items.c.candidate)
            .with_for_update(key_share=True)
        )
        before = self._connection.execute(query).all()
        update = sa.update(items).where(which).values(answers_left=missing_answers())
        returned = self._connection.execute(update.returning(items.c.position, items.c.answers_left))
        left_at = {position: left for position, left in returned}
        # Item by item: on PostgreSQL the UPDATE may meet items that came in after the first statement.
        missing = [left for _, _, left, _ in before]
        after = [left_at[position] for _, position, _, _ in before]
        figures = self._batches[(batch,)]
        figures["answers_left"] += sum(after) - sum(missing)
        figures["complete"] += after.count(0) - missing.count(0)
        more = [position for _, position, left, _ in before if left_at[position] > left]
        if more:
            self._returned[batch] = min(*more, self._returned.get(batch, more[0]))
        return {candidate: gold for candidate, _, _, gold in before}

    def count(self, answer: Review, gold: str | None, number: int) -> None:
        """Count an answer for its reviewer, ``number`` times."""
        figures = self._answers[(str(answer.batch), answer.kind, answer.reviewer)]
        figures["answers"] += number
        if gold is None:
            figures["skipped" if answer.decision == "skip" else answer.decision] += number
        else:
            figures["gold_answers"] += number * (answer.decision != "skip")
            figures["gold_right"] += number * (answer.decision == gold)

    def write(self) -> None:
        """Write the changes."""
        _add(self._connection, answer_counts, self._answers)
        places = tables.queue_places
        for batch, position in sorted(self._returned.items()):
            beyond = sa.and_(places.c.batch == batch, places.c.position > position)
            self._connection.execute(sa.update(places).where(beyond).values(position=position))
        _add(self._connection, batch_counts, self._batches)


def _add(connection: sa.Connection, table: sa.Table, numbers: dict[tuple[str, ...], Counter[str]]) -> None:
    """Add numbers to the rows with these primary keys. Rows that are missing begin at 0."""
    keys = [column.name for column in table.primary_key]
    names = [column.name for column in table.columns if column.name not in keys]
    rows = [
        {**dict(zip(keys, key, strict=True)), **{name: added[name] for name in names}}
        for key, added in sorted(numbers.items())
        if any(added.values())
    ]
    if rows:
        statement = _insert(connection, table)
        sums = {name: table.c[name] + statement.excluded[name] for name in names}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=sums), rows)


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)
