"""Pool draws: which items there are of a split, and that nothing used once is drawn again."""

from collections.abc import Sequence

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import Split
from tasks.storage.ledger.database import LedgerBase, chunked, insert_new, now

MEASURING = "fresh"
"""Stands in the name of a phase whose items measure a judge: ``RUN fresh 1``."""
_draws, _samples, _shards = tables.pool_draws, tables.samples, tables.shards


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
        query = sa.select(_draws.c.item).where(_draws.c.phase == phase).order_by(_draws.c.sequence)
        with self._reading() as connection:
            return list(connection.scalars(query))

    def pool_items(self, split: Split, truth_known: bool = False) -> list[str]:
        """Keys of the pool's items of a split, in the shards' order.

        Args:
            split: Of the item itself; a shard holds items of every split.
            truth_known: Only those whose ground truth a source knows.
        """
        query = _pool_items(split)
        if truth_known:
            truth, held = _shards.alias("truth"), _samples.alias("held")
            known = sa.exists().where(
                held.c.key == _samples.c.key, truth.c.name == held.c.shard, truth.c.stage == "truth"
            )
            query = query.where(known)
        return self._keys(query)

    def undrawn_items(self, apart: bool = False) -> list[str]:
        """Keys of the pool's training items that no phase has drawn, in the shards' order.

        Scenes that a judge is measured on are left out: it must not learn from them.

        Args:
            apart: Leave out every scene of which a phase has drawn anything.
        """
        drawn = sa.exists().where(_draws.c.item == _samples.c.key)
        other = _samples.alias("other")
        scenes = sa.select(other.c.scene).join(_draws, _draws.c.item == other.c.key)
        if not apart:
            scenes = scenes.where(_draws.c.phase.like(f"% {MEASURING} %"))
        return self._keys(_pool_items("train").where(sa.not_(drawn), _samples.c.scene.not_in(scenes)))

    def measuring_scenes(self) -> set[str]:
        """The scenes of all items that were drawn to measure a judge."""
        query = sa.select(_samples.c.scene).join(_draws, _draws.c.item == _samples.c.key)
        with self._reading() as connection:
            return set(connection.scalars(query.where(_draws.c.phase.like(f"% {MEASURING} %"))))

    def undrawn(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that no phase has drawn, in the order given."""
        taken: set[str] = set()
        with self._reading() as connection:
            for chunk in chunked(keys):
                taken.update(_owners(connection, chunk))
        return [key for key in keys if key not in taken]

    def _keys(self, query: sa.Select[tuple[str]]) -> list[str]:
        with self._reading() as connection:
            return list(dict.fromkeys(connection.scalars(query)))


def _pool_items(split: Split) -> sa.Select[tuple[str]]:
    """Keys of the pool's samples of a split."""
    place = (_shards.c.round, _shards.c.index, _shards.c.name, _samples.c.position)
    return (
        sa.select(_samples.c.key)
        .join(_shards, _shards.c.name == _samples.c.shard)
        .where(_shards.c.stage == "pool", _samples.c.split == split)
        .order_by(*place)
    )


def _owners(connection: sa.Connection, keys: Sequence[str]) -> dict[str, str]:
    """Item to the phase that drew it, for those that are drawn."""
    query = sa.select(_draws.c.item, _draws.c.phase).where(_draws.c.item.in_(keys))
    return {item: phase for item, phase in connection.execute(query)}


def _refuse_taken(phase: str, owners: dict[str, str]) -> None:
    taken = {item: owner for item, owner in owners.items() if owner != phase}
    if taken:
        item, owner = next(iter(sorted(taken.items())))
        raise LedgerError(
            f"{len(taken)} pool item(s) cannot be drawn by {phase}: {item}, for one, was drawn by {owner}"
        )
