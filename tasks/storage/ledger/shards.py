"""Record shards, their samples, rejects and draws. A shard's row is its commit."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, get_args

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import Split, derive_key
from data_specs.reject import Reject, RejectReason
from data_specs.shard import Purpose, SampleRow, ShardRef, Stage
from tasks.storage.ledger.database import LedgerPart, between, chunked, insert_new, insert_one, now

# Rejects: what was refused, and why.


class RejectLedger(LedgerPart):
    """The part of the ledger for rejects."""

    def record(self, rejects: Sequence[Reject]) -> None:
        """Add rejects. The same reject twice is one."""
        with self._database.writing() as connection:
            insert_rejects(connection, rejects)

    def all(self) -> list[Reject]:
        """All rejects, by source, name and reason."""
        table = tables.rejects
        order = (table.c.source, table.c.name, table.c.reason, table.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(table).order_by(*order))
            return [
                Reject(source=row.source, name=row.name, reason=RejectReason(row.reason), detail=row.detail)
                for row in rows
            ]

    def counts(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, int]:
        """The number for each reason, most first, of rejects recorded from ``since`` to before ``until``."""
        table = tables.rejects
        count = sa.func.count()
        query = (
            sa.select(table.c.reason, count)
            .where(between(table.c.recorded_at, since, until))
            .group_by(table.c.reason)
            .order_by(count.desc(), table.c.reason)
        )
        with self._database.reading() as connection:
            return {reason: number for reason, number in connection.execute(query)}


def insert_rejects(connection: sa.Connection, rejects: Sequence[Reject]) -> None:
    """Add rejects inside an open transaction."""
    moment = now()
    rows = [
        {
            "id": derive_key("reject", reject.source, reject.name, reject.reason.value, reject.detail),
            "source": reject.source,
            "name": reject.name,
            "reason": reject.reason.value,
            "detail": reject.detail,
            "recorded_at": moment,
        }
        for reject in rejects
    ]
    insert_new(connection, tables.rejects, rows)


_REF_COLUMNS = [tables.shards.c[field] for field in ShardRef.model_fields]
_PURPOSES = {purpose: place for place, purpose in enumerate(get_args(Purpose))}


def _in_order() -> list[sa.ColumnElement[Any]]:
    """By round, stage, purpose as `Purpose` lists them, and index. The name decides between equals."""
    table = tables.shards
    purpose = sa.case(_PURPOSES, value=table.c.purpose, else_=-1)
    return [table.c.round, table.c.stage, purpose, table.c.index, table.c.name]


def place_of(ref: ShardRef) -> tuple[int, str, int, int, str]:
    """The key by which shards are sorted: round, stage, purpose, index, name."""
    purpose = -1 if ref.purpose is None else _PURPOSES[ref.purpose]
    return ref.round, ref.stage, purpose, ref.index, ref.name


class ShardLedger(LedgerPart):
    """The part of the ledger for shards."""

    def find(self, input_digest: str) -> ShardRef | None:
        """The shard that this work already made. None if there is none."""
        with self._database.reading() as connection:
            return _find(connection, tables.shards.c.input_digest == input_digest)

    def find_named(self, name: str) -> ShardRef | None:
        """The shard of this name. None if there is none."""
        with self._database.reading() as connection:
            return _find(connection, tables.shards.c.name == name)

    def find_equal(self, ref: ShardRef, first_key: str) -> ShardRef | None:
        """The shard with the stage, round and bytes of ``ref``, whatever its index. None if there is none.

        Args:
            ref: A shard, recorded or not.
            first_key: Key of its first sample.
        """
        samples, shards = tables.samples, tables.shards
        holders = sa.select(samples.c.shard).where(samples.c.key == first_key)
        equal = [
            shards.c[name] == getattr(ref, name) for name in ("stage", "round", "sha256", "index_sha256")
        ]
        with self._database.reading() as connection:
            return _find(connection, sa.and_(shards.c.name.in_(holders), *equal))

    def named(self, name: str) -> ShardRef:
        """The shard of this name.

        Raises:
            LedgerError: If there is none.
        """
        ref = self.find_named(name)
        if ref is None:
            raise LedgerError(f"the ledger has no shard {name}")
        return ref

    def commit(self, ref: ShardRef, rows: Sequence[SampleRow], rejects: Sequence[Reject] = ()) -> ShardRef:
        """Record a shard, its samples and its rejects in one transaction.

        Returns:
            The ledger's shard for this work: ``ref``, or an existing one.

        Raises:
            LedgerError: If another work has this name with other bytes.
        """
        with self._database.writing() as connection:
            insert_rejects(connection, rejects)
            values = {**ref.model_dump(), "created_at": now()}
            if insert_one(connection, tables.shards, values):
                insert_new(connection, tables.samples, [_sample_values(ref.name, row) for row in rows])
                return ref
            return _present(connection, ref)

    def all(self, stage: Stage | None = None, round: int | None = None) -> list[ShardRef]:
        """The shards of a stage and round (None = any), by round, stage, purpose and index."""
        table = tables.shards
        query = sa.select(*_REF_COLUMNS).order_by(*_in_order())
        if stage is not None:
            query = query.where(table.c.stage == stage)
        if round is not None:
            query = query.where(table.c.round == round)
        with self._database.reading() as connection:
            return [ShardRef(**row) for row in connection.execute(query).mappings()]

    def of_works(self, input_digests: Sequence[str]) -> list[ShardRef]:
        """The shards that these works made, as far as they exist."""
        query = sa.select(*_REF_COLUMNS)
        column = tables.shards.c.input_digest
        with self._database.reading() as connection:
            return [
                ShardRef(**row)
                for chunk in chunked(input_digests)
                for row in connection.execute(query.where(column.in_(chunk))).mappings()
            ]

    def samples_of(self, shard: str) -> list[SampleRow]:
        """The samples of a shard, in its order."""
        table = tables.samples
        columns = [table.c[field] for field in SampleRow.__dataclass_fields__]
        query = sa.select(*columns).where(table.c.shard == shard).order_by(table.c.position)
        with self._database.reading() as connection:
            return [SampleRow(**row) for row in connection.execute(query).mappings()]

    def samples_in(self, shards: Sequence[str], split: Split | None = None) -> dict[str, list[SampleRow]]:
        """The samples of some shards in a split (None = any), each in its order, with one query for all.

        Returns:
            A list for each given shard, in the given order.
        """
        table = tables.samples
        columns = [table.c[field] for field in SampleRow.__dataclass_fields__]
        query = sa.select(table.c.shard, *columns).order_by(table.c.shard, table.c.position)
        if split is not None:
            query = query.where(table.c.split == split)
        samples: dict[str, list[SampleRow]] = {name: [] for name in shards}
        with self._database.reading() as connection:
            for chunk in chunked(list(samples)):
                for shard, *values in connection.execute(query.where(table.c.shard.in_(chunk))):
                    samples[shard].append(SampleRow(*values))
        return samples

    def keys_of_split(self, keys: Sequence[str], split: Split) -> set[str]:
        """Those of ``keys`` whose sample is in a split."""
        table, in_split = tables.samples, set[str]()
        query = sa.select(table.c.key).where(table.c.split == split)
        with self._database.reading() as connection:
            for chunk in chunked(keys):
                in_split.update(connection.scalars(query.where(table.c.key.in_(chunk))))
        return in_split

    def holders_of(self, keys: Sequence[str], stage: Stage) -> dict[str, ShardRef]:
        """The shard of a stage that holds each sample. Keys that no shard holds are left out."""
        samples, shards = tables.samples, tables.shards
        query = (
            sa.select(samples.c.key, *_REF_COLUMNS)
            .join(shards, shards.c.name == samples.c.shard)
            .where(shards.c.stage == stage)
            .order_by(*_in_order())
        )
        holders: dict[str, ShardRef] = {}
        with self._database.reading() as connection:
            for chunk in chunked(keys):
                for row in connection.execute(query.where(samples.c.key.in_(chunk))).mappings():
                    facts = dict(row)
                    holders[facts.pop("key")] = ShardRef(**facts)
        return holders

    def other_holders(self, keys: Sequence[str], stage: Stage, besides: str) -> dict[str, str]:
        """By sample, the first shard by name that holds it, of this stage and not of the work ``besides``.

        Samples without such a shard are left out.
        """
        samples, shards = tables.samples, tables.shards
        query = (
            sa.select(samples.c.key, sa.func.min(samples.c.shard))
            .join(shards, shards.c.name == samples.c.shard)
            .where(shards.c.stage == stage, shards.c.input_digest != besides)
            .group_by(samples.c.key)
        )
        holders: dict[str, str] = {}
        with self._database.reading() as connection:
            for chunk in chunked(keys):
                rows = connection.execute(query.where(samples.c.key.in_(chunk)))
                holders.update((key, shard) for key, shard in rows)
        return holders

    def split_counts(self, shards: Sequence[str]) -> dict[str, int]:
        """The number of samples of some shards by split, with one query for all."""
        table, counts = tables.samples, Counter[str]()
        query = sa.select(table.c.split, sa.func.count()).group_by(table.c.split)
        with self._database.reading() as connection:
            for chunk in chunked(shards):
                for split, number in connection.execute(query.where(table.c.shard.in_(chunk))):
                    counts[split] += number
        return dict(sorted(counts.items()))


def _find(connection: sa.Connection, where: sa.ColumnElement[bool]) -> ShardRef | None:
    row = connection.execute(sa.select(*_REF_COLUMNS).where(where)).mappings().first()
    return None if row is None else ShardRef(**row)


def _present(connection: sa.Connection, ref: ShardRef) -> ShardRef:
    """The existing shard that conflicts with ``ref``."""
    same_work = _find(connection, tables.shards.c.input_digest == ref.input_digest)
    if same_work is not None:
        return same_work
    same_name = _find(connection, tables.shards.c.name == ref.name)
    if same_name is None or same_name.sha256 != ref.sha256:
        raise LedgerError(
            f"shard {ref.name} already holds these samples with other contents; "
            "use a new workspace, or another round, for the changed settings"
        )
    return same_name


def _sample_values(shard: str, row: SampleRow) -> dict[str, object]:
    return {
        "shard": shard,
        "position": row.position,
        "key": row.key,
        "scene": row.scene,
        "split": row.split,
        "item": row.item,
    }


# Pool draws: the items of a split, and the rule that no item is drawn twice.

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
            for chunk in chunked(keys):
                # Checked first and inserted afterwards, so that a repeated draw uses up no sequence numbers.
                owners = _owners(connection, chunk)
                new = [key for key in dict.fromkeys(chunk) if key not in owners]
                facts = {"phase": phase, "purpose": purpose, "drawn_at": moment}
                insert_new(connection, table, [{"item": key, **facts} for key in new])
                _refuse_taken(phase, _owners(connection, chunk))

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
        query = _pool_items(split)
        if truth_known:
            truth, held = _shards.alias("truth"), _samples.alias("held")
            has_truth = sa.exists().where(
                held.c.key == _samples.c.key, truth.c.name == held.c.shard, truth.c.stage == "truth"
            )
            query = query.where(has_truth)
        return self._keys(query)

    def undrawn_items(self, apart: bool = False) -> list[str]:
        """Keys of the pool's training items that no phase has drawn, in the shards' order.

        Scenes that measure a discriminator are left out: it must not learn from them.

        Args:
            apart: Whether to leave out every scene from which a phase has drawn anything.
        """
        drawn = sa.exists().where(_draws.c.item == _samples.c.key)
        other = _samples.alias("other")
        scenes = sa.select(other.c.scene).join(_draws, _draws.c.item == other.c.key)
        if not apart:
            scenes = scenes.where(_draws.c.purpose == "fresh")
        return self._keys(_pool_items("train").where(sa.not_(drawn), _samples.c.scene.not_in(scenes)))

    def measuring_scenes(self) -> set[str]:
        """The scenes of all items that were drawn to measure a discriminator."""
        query = sa.select(_samples.c.scene).join(_draws, _draws.c.item == _samples.c.key)
        with self._database.reading() as connection:
            return set(connection.scalars(query.where(_draws.c.purpose == "fresh")))

    def undrawn(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that no phase has drawn, in the given order."""
        taken: set[str] = set()
        with self._database.reading() as connection:
            for chunk in chunked(keys):
                taken.update(_owners(connection, chunk))
        return [key for key in keys if key not in taken]

    def _keys(self, query: sa.Select[tuple[str]]) -> list[str]:
        with self._database.reading() as connection:
            return list(dict.fromkeys(connection.scalars(query)))


def _pool_items(split: Split) -> sa.Select[tuple[str]]:
    """Keys of the pool's samples in a split."""
    place = (_shards.c.round, _shards.c.index, _shards.c.name, _samples.c.position)
    return (
        sa.select(_samples.c.key)
        .join(_shards, _shards.c.name == _samples.c.shard)
        .where(_shards.c.stage == "pool", _samples.c.split == split)
        .order_by(*place)
    )


def _owners(connection: sa.Connection, keys: Sequence[str]) -> dict[str, str]:
    """The phase that drew each item, for drawn items."""
    query = sa.select(_draws.c.item, _draws.c.phase).where(_draws.c.item.in_(keys))
    return {item: phase for item, phase in connection.execute(query)}


def _refuse_taken(phase: str, owners: dict[str, str]) -> None:
    taken = {item: owner for item, owner in owners.items() if owner != phase}
    if taken:
        item, owner = next(iter(sorted(taken.items())))
        raise LedgerError(
            f"{phase} cannot draw {len(taken)} pool item(s): {item}, for example, was drawn by "
            f"{owner}; ingest more images"
        )
