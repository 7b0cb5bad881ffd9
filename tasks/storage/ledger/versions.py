"""Record dataset versions, and the events that make one the current version."""

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import derive_key
from data_specs.version import DatasetVersion
from tasks.storage.ledger.database import LedgerPart, insert_new, now


class VersionLedger(LedgerPart):
    """The part of the ledger for versions."""

    def record(self, version: DatasetVersion) -> None:
        """Add a version's manifest.

        Raises:
            LedgerError: If another manifest has this number.
        """
        manifest = version.model_dump(mode="json")
        table = tables.versions
        with self._database.writing() as connection:
            insert_new(connection, table, [{"number": version.number, "manifest": manifest}])
            present = connection.scalar(sa.select(table.c.manifest).where(table.c.number == version.number))
        if present != manifest:
            raise LedgerError(
                f"the ledger has another dataset version {version.number}; run `cleanplate dataset list`"
            )

    def all(self) -> list[DatasetVersion]:
        """All versions, by number."""
        query = sa.select(tables.versions.c.manifest).order_by(tables.versions.c.number)
        with self._database.reading() as connection:
            return [DatasetVersion(**manifest) for manifest in connection.scalars(query)]

    def count(self) -> int:
        """The number of versions."""
        with self._database.reading() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(tables.versions)) or 0

    def numbered(self, number: int) -> DatasetVersion:
        """The version of this number.

        Raises:
            LedgerError: If there is none.
        """
        query = sa.select(tables.versions.c.manifest).where(tables.versions.c.number == number)
        with self._database.reading() as connection:
            manifest = connection.scalar(query)
        if manifest is None:
            raise LedgerError(f"there is no dataset version {number}; `cleanplate dataset list` shows all")
        return DatasetVersion(**manifest)

    def set_current(self, number: int, reason: str, *, event: str | None = None) -> None:
        """Make a version the current one.

        Args:
            number: The version.
            reason: Why, in one sentence.
            event: The event's id. By default it follows from number and reason. The same words twice are then
                one event, and a flow that runs again from its start changes nothing.

        Raises:
            LedgerError: If there is no such version.
        """
        self.numbered(number)
        values = {
            "event": event or derive_key("current version", number, reason),
            "number": number,
            "reason": reason,
            "recorded_at": now(),
        }
        with self._database.writing() as connection:
            insert_new(connection, tables.version_events, [values])

    def current(self) -> DatasetVersion | None:
        """The version that was made current last. None before the first."""
        latest = self._latest_event()
        return None if latest is None else self.numbered(latest[0])

    def latest_event(self) -> str:
        """The id of the event that made the current version current. Empty before the first."""
        latest = self._latest_event()
        return "" if latest is None else latest[1]

    def _latest_event(self) -> tuple[int, str] | None:
        table = tables.version_events
        query = sa.select(table.c.number, table.c.event).order_by(table.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.number, row.event)
