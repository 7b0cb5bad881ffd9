"""Pool draws: nothing used once is drawn again."""

from collections.abc import Sequence

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from tasks.ledger.base import LedgerBase, chunked, insert_new, now


class DrawLedger(LedgerBase):
    """The draws' part of the ledger."""

    def draw(self, phase: str, keys: Sequence[str]) -> None:
        """Marks pool items as used by a phase, all of them or none.

        Raises:
            LedgerError: When another phase has drawn one of them.
        """
        table, moment = tables.pool_draws, now()
        with self._writing() as connection:
            for chunk in chunked(keys):
                # Told first and inserted after, so that a repeated draw burns no sequence numbers.
                owners = _owners(connection, chunk)
                new = [key for key in dict.fromkeys(chunk) if key not in owners]
                insert_new(
                    connection, table, [{"item": key, "phase": phase, "drawn_at": moment} for key in new]
                )
                _refuse_taken(phase, _owners(connection, chunk))

    def drawn(self, phase: str) -> list[str]:
        """The items a phase has drawn, in the order of drawing."""
        table = tables.pool_draws
        query = sa.select(table.c.item).where(table.c.phase == phase).order_by(table.c.sequence)
        with self._reading() as connection:
            return list(connection.scalars(query))

    def undrawn(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that no phase has drawn, in the order given."""
        taken: set[str] = set()
        with self._reading() as connection:
            for chunk in chunked(keys):
                taken.update(_owners(connection, chunk))
        return [key for key in keys if key not in taken]


def _owners(connection: sa.Connection, keys: Sequence[str]) -> dict[str, str]:
    """Item to the phase that drew it, for those that are drawn."""
    table = tables.pool_draws
    query = sa.select(table.c.item, table.c.phase).where(table.c.item.in_(keys))
    return {item: phase for item, phase in connection.execute(query)}


def _refuse_taken(phase: str, owners: dict[str, str]) -> None:
    taken = {item: owner for item, owner in owners.items() if owner != phase}
    if taken:
        item, owner = next(iter(sorted(taken.items())))
        raise LedgerError(
            f"{len(taken)} pool item(s) cannot be drawn by {phase}: {item}, for one, was drawn by {owner}"
        )
