"""Record draws of pool items, and find the items that are left. No item is drawn twice."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import Split
from data_specs.shard import Purpose
from tasks.storage.ledger.database import LedgerPart, among, insert_new, now

_PART = 100_000
"""Keys that a reader of the whole pool holds at a time."""

_draws, _samples, _shards = tables.pool_draws, tables.samples, tables.shards


class DrawLedger(LedgerPart):
    """The part of the ledger for draws."""

    def draw(self, phase: str, purpose: Purpose, keys: Sequence[str]) -> None:
        """Mark pool items as used by a phase for a purpose, all of them or none.

        Raises:
            LedgerError: If another phase has drawn one of them.
        """
        table, moment = tables.pool_draws, now()
        with self._database.writing() as connection:
            # Checked first and inserted afterwards, so that a repeated draw uses up no sequence numbers.
            owners = _owners(connection, keys)
            facts = {"phase": phase, "purpose": purpose, "drawn_at": moment}
            rows = [{"item": key, **facts} for key in dict.fromkeys(keys) if key not in owners]
            insert_new(connection, table, rows)
            _refuse_taken(phase, _owners(connection, keys))

    def drawn(self, phase: str) -> list[str]:
        """The items that a phase has drawn, in the order of drawing."""
        query = sa.select(_draws.c.item).where(_draws.c.phase == phase).order_by(_draws.c.sequence)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def pool_items(self, split: Split, truth_known: bool = False) -> list[str]:
        """Keys of the pool's items in a split, in the shards' order.

        Args:
            split: The split of the item itself. A shard holds items of every split.
            truth_known: Whether to return only items whose ground truth is known.
        """
        query = _with_truth(split) if truth_known else _pool_items(split)
        return self._keys(query.order_by(*_IN_ORDER))

    def pool_count(self, split: Split, truth_known: bool = False) -> int:
        """The number of the pool's items in a split. See `pool_items`."""
        return self._count((_with_truth(split) if truth_known else _pool_items(split)).distinct())

    def undrawn_items(self, apart: bool = False) -> list[str]:
        """Keys of the pool's training items that no phase has drawn, in the shards' order.

        Scenes that measure a discriminator are left out: it must not learn from them.

        Args:
            apart: Whether to leave out every scene from which a phase has drawn anything.
        """
        return self._keys(_undrawn(apart).order_by(*_IN_ORDER))

    def undrawn_parts(self, apart: bool = False) -> Iterator[list[str]]:
        """The same keys in several lists and in no order, for whoever needs few of many."""
        with self._database.reading() as connection:
            for part in connection.execution_options(yield_per=_PART).scalars(_undrawn(apart)).partitions():
                yield list(part)

    def undrawn_count(self, at_most: int | None = None) -> int:
        """The number of the keys that `undrawn_items` gives, counted up to ``at_most`` (None = all)."""
        return self._count(_undrawn(apart=False).distinct().limit(at_most))

    def undrawn(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that no phase has drawn, in the given order."""
        with self._database.reading() as connection:
            taken = _owners(connection, keys)
        return [key for key in keys if key not in taken]

    def _keys(self, query: sa.Select[tuple[str]]) -> list[str]:
        with self._database.reading() as connection:
            return list(dict.fromkeys(connection.scalars(query)))

    def _count(self, query: sa.Select[tuple[str]]) -> int:
        with self._database.reading() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0


_IN_ORDER = (_shards.c.round, _shards.c.index, _shards.c.name, _samples.c.position)


def measuring_scenes() -> sa.Select[tuple[str]]:
    """The scenes of all items that were drawn to measure a discriminator."""
    other = _samples.alias("other")
    drawn = sa.select(other.c.scene).join(_draws, _draws.c.item == other.c.key)
    return drawn.where(_draws.c.purpose == "fresh")


def _undrawn(apart: bool) -> sa.Select[tuple[str]]:
    drawn = sa.exists().where(_draws.c.item == _samples.c.key)
    other = _samples.alias("other")
    used = sa.select(other.c.scene).join(_draws, _draws.c.item == other.c.key)
    scenes = used if apart else measuring_scenes()
    return _pool_items("train").where(sa.not_(drawn), _samples.c.scene.not_in(scenes))


def _pool_items(split: Split) -> sa.Select[tuple[str]]:
    """Keys of the pool's samples in a split."""
    return (
        sa.select(_samples.c.key)
        .join(_shards, _shards.c.name == _samples.c.shard)
        .where(_shards.c.stage == "pool", _samples.c.split == split)
    )


def _with_truth(split: Split) -> sa.Select[tuple[str]]:
    truth, held = _shards.alias("truth"), _samples.alias("held")
    has_truth = sa.exists().where(
        held.c.key == _samples.c.key, truth.c.name == held.c.shard, truth.c.stage == "truth"
    )
    return _pool_items(split).where(has_truth)


def _owners(connection: sa.Connection, keys: Sequence[str]) -> dict[str, str]:
    """The phase that drew each item, for drawn items."""
    query = sa.select(_draws.c.item, _draws.c.phase).where(among(connection, _draws.c.item, keys))
    return {item: phase for item, phase in connection.execute(query)}


def _refuse_taken(phase: str, owners: dict[str, str]) -> None:
    taken = {item: owner for item, owner in owners.items() if owner != phase}
    if taken:
        item, owner = next(iter(sorted(taken.items())))
        raise LedgerError(
            f"{phase} cannot draw {len(taken)} pool item(s): {item}, for example, was drawn by "
            f"{owner}; ingest more images"
        )
