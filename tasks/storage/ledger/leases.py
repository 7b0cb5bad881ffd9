"""Lease review items to people, and record or undo their answers, correctly with any number of writers.

A transaction that leases locks the batch's row. One that answers or undoes locks the lease's row. On
PostgreSQL they therefore wait for each other, as with SQLite's single writer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LeaseExpiredError, LeaseFinishedError, NotYoursError, UnknownKeyError
from data_specs.keys import derive_key
from data_specs.review import Review
from data_specs.review_batch import Answer, Lease
from tasks.storage.ledger.batches import find_batch, last_event
from tasks.storage.ledger.database import LedgerPart, insert_new, insert_one
from tasks.storage.ledger.kept_counts import count_answers, recount_step, unfinished

_leases, _items, _places = tables.leases, tables.review_items, tables.queue_places
_LEASE = [_leases.c[field] for field in Lease.model_fields]
# Constants in the text: with a parameter, a prepared statement could not use the partial indexes.
_LIVE = _leases.c.state == sa.literal_column("'live'")
_WAITING = _items.c.answers_left > sa.literal_column("0")


class LeaseLedger(LedgerPart):
    """The part of the ledger for the queue."""

    def lease(self, batch: str, person: str, count: int, now: datetime) -> list[Lease]:
        """Lease up to ``count`` items of a batch: those the person holds already, then the next in the queue.

        An item is leased to as many people at a time as it wants answers, and to nobody twice. An expired
        lease returns its item.

        Raises:
            UnknownKeyError: If there is no such batch.
        """
        self._continue_recounts(batch)
        with self._database.writing() as connection:
            opened = find_batch(connection, batch, hold=True)
            _expire(connection, batch, now)
            held = _held(connection, batch, person)[:count]
            if last_event(connection, batch) in ("continued", "abandoned"):
                return held
            expires_at = now + timedelta(seconds=opened.policy.lease_seconds)
            waiting = _next(connection, batch, person, count - len(held)) if count > len(held) else []
            return held + _lease(connection, batch, waiting, person, expires_at)

    def answer(self, lease: str, person: str, answer: Answer, now: datetime) -> Review:
        """Record the answer to a lease. The same answer again is the same review.

        Raises:
            UnknownKeyError: If there is no such lease.
            NotYoursError: If it is another person's, or the person is disabled.
            LeaseFinishedError: If it was answered differently, or its answer was undone.
            LeaseExpiredError: If it has expired.
        """
        with self._database.writing() as connection:
            _refuse_excluded(connection, person)
            held, state = _find(connection, lease, person)
            if state in ("answered", "undone"):
                return _repeated(connection, held, state, answer)
            if state == "expired" or held.expires_at <= now:
                raise LeaseExpiredError("your time for this item is over; take it again from the queue")
            review = Review(
                event=event_of(lease),
                candidate=held.candidate,
                decision=answer.decision,
                reviewer=person,
                kind="person",
                reason=answer.reason if answer.decision == "no" else "",
                answered_at=now,
                batch=held.batch,
                seconds=answer.seconds,
                page_version=answer.page_version,
            )
            insert_new(connection, tables.reviews, [review.model_dump()])
            _set_state(connection, lease, "answered")
            count_answers(connection, [review])
            return review

    def undo(self, review: str, person: str, now: datetime) -> Lease:
        """Take back an answer. The item is leased to the same person again. A second call is the same undo.

        Raises:
            UnknownKeyError: If there is no such answer to a batch's item.
            NotYoursError: If it is another person's.
            LeaseFinishedError: If it was undone before and the item is no longer held.
        """
        with self._database.writing() as connection:
            answered = _review(connection, review, person)
            batch, candidate = str(answered.batch), answered.candidate
            policy = find_batch(connection, batch, hold=True).policy
            row = {
                "event": derive_key("undo", review),
                "review": review,
                "person": person,
                "undone_at": now,
            }
            if not insert_one(connection, tables.review_undos, row):
                again = [lease for lease in _held(connection, batch, person) if lease.candidate == candidate]
                if not again or again[0].expires_at <= now:
                    raise LeaseFinishedError("this answer was undone already; take the item from the queue")
                return again[0]
            connection.execute(
                sa.update(_leases)
                .where(*_item_of_person(batch, candidate, person), _leases.c.state == "answered")
                .values(state="undone")
            )
            count_answers(connection, [answered], -1)
            expires_at = now + timedelta(seconds=policy.lease_seconds)
            return _lease(connection, batch, [candidate], person, expires_at)[0]

    def _continue_recounts(self, batch: str) -> None:
        """Take one step of each recount of the batch that is not finished."""
        with self._database.reading() as connection:
            people = unfinished(connection, batch)
        for person in people:
            with self._database.writing() as connection:
                recount_step(connection, person)


def event_of(lease: str) -> str:
    """The id of the review that answers a lease."""
    return derive_key("review", lease)


def _refuse_excluded(connection: sa.Connection, person: str) -> None:
    """Refuse a disabled person. The row is locked: disabling somebody waits until this answer counts."""
    query = sa.select(tables.people.c.excluded).where(tables.people.c.name == person)
    if connection.scalar(query.with_for_update(read=True)) is not False:
        raise NotYoursError(
            "your answers are not accepted at present; ask the person who gave you your token"
        )


def _expire(connection: sa.Connection, batch: str, now: datetime) -> None:
    """End the leases that ran out. Everybody then looks for items from the first that came back."""
    expired = (
        sa.update(_leases)
        .where(_leases.c.batch == batch, _LIVE, _leases.c.expires_at <= now)
        .values(state="expired")
        .returning(_leases.c.candidate)
    )
    candidates = connection.scalars(expired).all()
    if candidates:
        returned = sa.and_(_items.c.batch == batch, _items.c.candidate.in_(candidates))
        first = connection.execute(sa.select(sa.func.min(_items.c.position)).where(returned)).scalar_one()
        beyond = sa.and_(_places.c.batch == batch, _places.c.position > first)
        connection.execute(sa.update(_places).where(beyond).values(position=first))


def _held(connection: sa.Connection, batch: str, person: str) -> list[Lease]:
    """A person's live leases, in the order of the queue."""
    query = (
        sa.select(*_LEASE)
        .join(_items, sa.and_(_items.c.batch == _leases.c.batch, _items.c.candidate == _leases.c.candidate))
        .where(_leases.c.batch == batch, _leases.c.person == person, _LIVE)
        .order_by(_items.c.position)
    )
    return [Lease(**row) for row in connection.execute(query).mappings()]


def _next(connection: sa.Connection, batch: str, person: str, count: int) -> list[str]:
    """The next candidates that are available to this person, from their place in the queue on.

    What lies before the place was answered, is complete or is held by others. If any of it comes back, the
    place is moved before it. So nobody walks over the same items twice.
    """
    mine = sa.and_(_places.c.batch == batch, _places.c.person == person)
    place = connection.scalar(sa.select(_places.c.position).where(mine))
    query = _available(batch, person).where(_items.c.position >= (place or 0))
    rows = connection.execute(query.order_by(_items.c.position).limit(count)).all()
    if len(rows) == count:
        after = rows[-1].position + 1
    else:
        after = connection.execute(
            sa.select(tables.batch_counts.c["items"]).where(tables.batch_counts.c.batch == batch)
        ).scalar_one()
    if place is None:
        connection.execute(sa.insert(_places).values(batch=batch, person=person, position=after))
    elif place != after:
        connection.execute(sa.update(_places).where(mine).values(position=after))
    return [row.candidate for row in rows]


def _available(batch: str, person: str) -> sa.Select[tuple[str, int]]:
    """Candidates and positions of the items that this person may get."""
    same = sa.and_(_leases.c.batch == _items.c.batch, _leases.c.candidate == _items.c.candidate)
    held = sa.select(sa.func.count()).where(same, _LIVE).correlate(_items).scalar_subquery()
    seen = sa.exists().where(same, _leases.c.person == person, _leases.c.state.in_(["live", "answered"]))
    return sa.select(_items.c.candidate, _items.c.position).where(
        _items.c.batch == batch, _WAITING, sa.not_(seen), _items.c.answers_left > held
    )


def _item_of_person(batch: str, candidate: str, person: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (_leases.c.batch == batch, _leases.c.candidate == candidate, _leases.c.person == person)


def _lease(
    connection: sa.Connection, batch: str, candidates: Sequence[str], person: str, expires_at: datetime
) -> list[Lease]:
    """Lease some items to a person."""
    if not candidates:
        return []
    mine = sa.and_(_leases.c.batch == batch, _leases.c.person == person, _leases.c.candidate.in_(candidates))
    query = sa.select(_leases.c.candidate, sa.func.count()).where(mine).group_by(_leases.c.candidate)
    before = {candidate: number for candidate, number in connection.execute(query)}
    leases = [
        Lease(
            lease=derive_key("lease", batch, candidate, person, before.get(candidate, 0)),
            batch=batch,
            candidate=candidate,
            person=person,
            expires_at=expires_at,
        )
        for candidate in candidates
    ]
    rows = [{**lease.model_dump(), "state": "live"} for lease in leases]
    connection.execute(sa.insert(_leases), rows)
    return leases


def _find(connection: sa.Connection, lease: str, person: str) -> tuple[Lease, str]:
    """A person's lease and its state, locked against other writers until the transaction ends."""
    query = sa.select(*_LEASE, _leases.c.state).where(_leases.c.lease == lease).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownKeyError("this lease does not exist; take an item from the queue")
    if row["person"] != person:
        raise NotYoursError("this item is reserved for another person; take one from the queue")
    return Lease(**{field: row[field] for field in Lease.model_fields}), row["state"]


def _repeated(connection: sa.Connection, held: Lease, state: str, answer: Answer) -> Review:
    """The review that a lease already has, if it is the same answer."""
    table = tables.reviews
    row = connection.execute(sa.select(table).where(table.c.event == event_of(held.lease))).mappings().one()
    review = Review(**row)
    if state == "undone" or review.decision != answer.decision:
        raise LeaseFinishedError("this item has an answer already; undo that answer first")
    return review


def _set_state(connection: sa.Connection, lease: str, state: str) -> None:
    connection.execute(sa.update(_leases).where(_leases.c.lease == lease).values(state=state))


def _review(connection: sa.Connection, event: str, person: str) -> Review:
    table = tables.reviews
    row = connection.execute(sa.select(table).where(table.c.event == event)).mappings().first()
    if row is None or row["batch"] is None:
        raise UnknownKeyError("this answer does not exist; only answers of the review page can be undone")
    if row["reviewer"] != person or row["kind"] != "person":
        raise NotYoursError("this is another person's answer; only your own can be undone")
    return Review(**row)
