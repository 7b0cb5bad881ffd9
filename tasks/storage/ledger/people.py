"""People who review, their sessions, and the events that say what was decided about them."""

from datetime import datetime

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError, UnknownKeyError
from data_specs.keys import derive_key
from data_specs.review import Person, PersonEvent, PersonEventKind
from tasks.storage.ledger.database import LedgerBase, insert_new, insert_one
from tasks.storage.ledger.reviews import recount_person


class PeopleLedger(LedgerBase):
    """The people's part of the ledger. Tokens and sessions are known here by their hashes alone."""

    def add_person(self, name: str, token_hash: str, now: datetime) -> None:
        """Adds a person.

        Raises:
            LedgerError: When there is one of this name.
        """
        row = {"name": name, "token_hash": token_hash, "excluded": False}
        with self._writing() as connection:
            if not insert_one(connection, tables.people, row):
                raise LedgerError(f"there is a person {name} already; --new-token gives them another token")
            _record(connection, name, "added", "", now)

    def replace_token(self, name: str, token_hash: str, now: datetime) -> None:
        """Gives a person another token; the old one and every session opened with it are void.

        Raises:
            UnknownKeyError: When there is no such person.
        """
        with self._writing() as connection:
            _person(connection, name)
            connection.execute(_of(name).values(token_hash=token_hash))
            _record(connection, name, "token replaced", "", now)

    def exclude_person(self, name: str, reason: str, now: datetime) -> None:
        """Leaves a person's answers out of every decision; their items go back into the queue.

        Raises:
            UnknownKeyError: When there is no such person.
        """
        self._set_excluded(name, True, reason, now)

    def readmit_person(self, name: str, reason: str, now: datetime) -> None:
        """Lets a person's answers count again.

        Raises:
            UnknownKeyError: When there is no such person.
        """
        self._set_excluded(name, False, reason, now)

    def people(self) -> list[Person]:
        """All of them, by name."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(*_PERSON).order_by(tables.people.c.name)).mappings()
            return [Person(**row) for row in rows]

    def person_of_token(self, token_hash: str) -> Person | None:
        """Whose token this is."""
        query = sa.select(*_PERSON).where(tables.people.c.token_hash == token_hash)
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else Person(**row)

    def person_events(self, name: str) -> list[PersonEvent]:
        """What was decided about a person, first to last."""
        table = tables.person_events
        columns = [table.c[field] for field in PersonEvent.model_fields]
        query = sa.select(*columns).where(table.c.person == name).order_by(table.c.sequence)
        with self._reading() as connection:
            return [PersonEvent(**row) for row in connection.execute(query).mappings()]

    def open_session(self, session_hash: str, token_hash: str, now: datetime, expires_at: datetime) -> None:
        """Remembers a session opened with a token; those that have run out are forgotten."""
        table = tables.review_sessions
        row = {"session_hash": session_hash, "token_hash": token_hash, "expires_at": expires_at}
        with self._writing() as connection:
            connection.execute(sa.delete(table).where(table.c.expires_at <= now))
            insert_new(connection, table, [row])

    def close_session(self, session_hash: str) -> None:
        """Forgets a session."""
        table = tables.review_sessions
        with self._writing() as connection:
            connection.execute(sa.delete(table).where(table.c.session_hash == session_hash))

    def person_of_session(self, session_hash: str, now: datetime) -> Person | None:
        """Whose session this is; None once it has run out or its token was replaced."""
        sessions = tables.review_sessions
        query = (
            sa.select(*_PERSON)
            .join(sessions, sessions.c.token_hash == tables.people.c.token_hash)
            .where(sessions.c.session_hash == session_hash, sessions.c.expires_at > now)
        )
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else Person(**row)

    def _set_excluded(self, name: str, excluded: bool, reason: str, now: datetime) -> None:
        with self._writing() as connection:
            if _person(connection, name).excluded is excluded:
                return
            connection.execute(_of(name).values(excluded=excluded))
            _record(connection, name, "excluded" if excluded else "readmitted", reason, now)
            recount_person(connection, name)


_PERSON = [tables.people.c[field] for field in Person.model_fields]


def _of(name: str) -> sa.Update:
    return sa.update(tables.people).where(tables.people.c.name == name)


def _person(connection: sa.Connection, name: str) -> Person:
    """The person, held against other writers until the transaction ends."""
    query = sa.select(*_PERSON).where(tables.people.c.name == name).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownKeyError(f"there is no person {name}; `cleanplate review reviewers list` shows them")
    return Person(**row)


def _record(connection: sa.Connection, name: str, kind: PersonEventKind, reason: str, now: datetime) -> None:
    table = tables.person_events
    before = connection.scalar(sa.select(sa.func.count()).where(table.c.person == name))
    row = {
        "event": derive_key("person event", name, before),
        "person": name,
        "kind": kind,
        "reason": reason,
        "recorded_at": now,
    }
    insert_new(connection, table, [row])
