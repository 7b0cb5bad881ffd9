"""Record reviewers, their sessions, and the decisions about them."""

import time
from datetime import datetime

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError, UnknownKeyError
from data_specs.keys import derive_key
from data_specs.review import Person, PersonEvent, PersonEventKind
from tasks.storage.ledger.database import LedgerPart, insert_new, insert_one
from tasks.storage.ledger.kept_counts import recount_step, start_recount


class PeopleLedger(LedgerPart):
    """The part of the ledger for people. It holds only hashes of tokens and sessions."""

    def add(self, name: str, token_hash: str, now: datetime) -> None:
        """Add a person.

        Raises:
            LedgerError: If there is one of this name.
        """
        row = {"name": name, "token_hash": token_hash, "excluded": False}
        with self._database.writing() as connection:
            if not insert_one(connection, tables.people, row):
                raise LedgerError(f"person {name} exists already; --new-token makes a new token")
            _record(connection, name, "added", "", now)

    def replace_token(self, name: str, token_hash: str, now: datetime) -> None:
        """Give a person a new token. The old one and all its sessions become invalid.

        Raises:
            UnknownKeyError: If there is no such person.
        """
        with self._database.writing() as connection:
            _person(connection, name)
            connection.execute(_of(name).values(token_hash=token_hash))
            _record(connection, name, "token replaced", "", now)

    def disable(self, name: str, reason: str, now: datetime) -> None:
        """Disable a person: their answers count in no decision, and their items return to the queue.

        Raises:
            UnknownKeyError: If there is no such person.
        """
        self._set_excluded(name, True, reason, now)

    def enable(self, name: str, reason: str, now: datetime) -> None:
        """Enable a person again: their answers count again.

        Raises:
            UnknownKeyError: If there is no such person.
        """
        self._set_excluded(name, False, reason, now)

    def all(self) -> list[Person]:
        """All people, by name."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(*_PERSON).order_by(tables.people.c.name)).mappings()
            return [Person(**row) for row in rows]

    def of_token(self, token_hash: str) -> Person | None:
        """The owner of a token. None if there is none."""
        query = sa.select(*_PERSON).where(tables.people.c.token_hash == token_hash)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else Person(**row)

    def events(self, name: str) -> list[PersonEvent]:
        """The decisions about a person, first to last."""
        table = tables.person_events
        columns = [table.c[field] for field in PersonEvent.model_fields]
        query = sa.select(*columns).where(table.c.person == name).order_by(table.c.sequence)
        with self._database.reading() as connection:
            return [PersonEvent(**row) for row in connection.execute(query).mappings()]

    def open_session(self, session_hash: str, token_hash: str, now: datetime, expires_at: datetime) -> None:
        """Record a session opened with a token, and delete expired sessions."""
        table = tables.review_sessions
        row = {"session_hash": session_hash, "token_hash": token_hash, "expires_at": expires_at}
        with self._database.writing() as connection:
            connection.execute(sa.delete(table).where(table.c.expires_at <= now))
            insert_new(connection, table, [row])

    def close_session(self, session_hash: str) -> None:
        """Delete a session."""
        table = tables.review_sessions
        with self._database.writing() as connection:
            connection.execute(sa.delete(table).where(table.c.session_hash == session_hash))

    def of_session(self, session_hash: str, now: datetime) -> Person | None:
        """The owner of a session. None if it has expired or its token was replaced."""
        sessions = tables.review_sessions
        query = (
            sa.select(*_PERSON)
            .join(sessions, sessions.c.token_hash == tables.people.c.token_hash)
            .where(sessions.c.session_hash == session_hash, sessions.c.expires_at > now)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else Person(**row)

    def _set_excluded(self, name: str, excluded: bool, reason: str, now: datetime) -> None:
        with self._database.writing() as connection:
            if _person(connection, name).excluded is not excluded:
                connection.execute(_of(name).values(excluded=excluded))
                _record(connection, name, "excluded" if excluded else "readmitted", reason, now)
                start_recount(connection, name)
        self._recount(name)

    def _recount(self, name: str) -> None:
        """Count a person's items anew in steps, beginning where an earlier call was killed."""
        polled = self._database.engine.dialect.name == "sqlite"
        unfinished = True
        while unfinished:
            with self._database.writing() as connection:
                began = time.monotonic()
                unfinished = recount_step(connection, name)
            if unfinished and polled:
                # SQLite's writers poll for the lock. A pause as long as the step lets others have it.
                time.sleep(time.monotonic() - began)


_PERSON = [tables.people.c[field] for field in Person.model_fields]


def _of(name: str) -> sa.Update:
    return sa.update(tables.people).where(tables.people.c.name == name)


def _person(connection: sa.Connection, name: str) -> Person:
    """The person, locked against other writers until the transaction ends."""
    query = sa.select(*_PERSON).where(tables.people.c.name == name).with_for_update(key_share=True)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownKeyError(f"there is no person {name}; `cleanplate review reviewers list` shows all")
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
