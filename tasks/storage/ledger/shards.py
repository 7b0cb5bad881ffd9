"""Shards and their samples; a shard's row is its commit."""

from collections.abc import Sequence

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import Split
from data_specs.reject import Reject
from data_specs.shard import SampleRow, ShardRef, Stage
from tasks.storage.ledger.database import LedgerBase, chunked, insert_new, insert_one, now
from tasks.storage.ledger.rejects import insert_rejects

_REF_COLUMNS = [tables.shards.c[field] for field in ShardRef.model_fields]


class ShardLedger(LedgerBase):
    """The shards' part of the ledger."""

    def find_shard(self, input_digest: str) -> ShardRef | None:
        """The shard that this work already made."""
        with self._reading() as connection:
            return _find(connection, tables.shards.c.input_digest == input_digest)

    def find_shard_named(self, name: str) -> ShardRef | None:
        """The shard of this name, where there is one."""
        with self._reading() as connection:
            return _find(connection, tables.shards.c.name == name)

    def shard(self, name: str) -> ShardRef:
        """The shard of this name.

        Raises:
            LedgerError: When there is none.
        """
        found = self.find_shard_named(name)
        if found is None:
            raise LedgerError(f"the ledger knows no shard {name}")
        return found

    def commit_shard(
        self, ref: ShardRef, rows: Sequence[SampleRow], rejects: Sequence[Reject] = ()
    ) -> ShardRef:
        """Enters a shard, its samples and its rejects in one transaction.

        Returns:
            The shard the ledger holds for this work: ``ref``, or the one that was there before.

        Raises:
            LedgerError: When another work holds this name with other bytes.
        """
        with self._writing() as connection:
            insert_rejects(connection, rejects)
            values = {**ref.model_dump(), "created_at": now()}
            if insert_one(connection, tables.shards, values):
                insert_new(connection, tables.samples, [_sample_values(ref.name, row) for row in rows])
                return ref
            return _present(connection, ref)

    def shards(self, stage: Stage | None = None, round: int | None = None) -> list[ShardRef]:
        """The shards of a stage and round (None = any), by round, stage and index."""
        table = tables.shards
        query = sa.select(*_REF_COLUMNS).order_by(table.c.round, table.c.stage, table.c.index, table.c.name)
        if stage is not None:
            query = query.where(table.c.stage == stage)
        if round is not None:
            query = query.where(table.c.round == round)
        with self._reading() as connection:
            return [ShardRef(**row) for row in connection.execute(query).mappings()]

    def shards_of_works(self, input_digests: Sequence[str]) -> list[ShardRef]:
        """The shards that these works made, as far as there are any."""
        query = sa.select(*_REF_COLUMNS)
        column = tables.shards.c.input_digest
        with self._reading() as connection:
            return [
                ShardRef(**row)
                for chunk in chunked(input_digests)
                for row in connection.execute(query.where(column.in_(chunk))).mappings()
            ]

    def samples_of(self, shard: str) -> list[SampleRow]:
        """What a shard holds, in its order."""
        table = tables.samples
        columns = [table.c[field] for field in SampleRow.__dataclass_fields__]
        query = sa.select(*columns).where(table.c.shard == shard).order_by(table.c.position)
        with self._reading() as connection:
            return [SampleRow(**row) for row in connection.execute(query).mappings()]

    def samples_in(self, shards: Sequence[str], split: Split | None = None) -> dict[str, list[SampleRow]]:
        """What some shards hold of a split (None = any), each in its order; a query for all of them.

        Returns:
            A list for every shard named, in the order given.
        """
        table = tables.samples
        columns = [table.c[field] for field in SampleRow.__dataclass_fields__]
        query = sa.select(table.c.shard, *columns).order_by(table.c.shard, table.c.position)
        if split is not None:
            query = query.where(table.c.split == split)
        found: dict[str, list[SampleRow]] = {name: [] for name in shards}
        with self._reading() as connection:
            for chunk in chunked(list(found)):
                for shard, *values in connection.execute(query.where(table.c.shard.in_(chunk))):
                    found[shard].append(SampleRow(*values))
        return found

    def keys_of_split(self, keys: Sequence[str], split: Split) -> set[str]:
        """Those of ``keys`` whose sample is of a split."""
        table, found = tables.samples, set[str]()
        query = sa.select(table.c.key).where(table.c.split == split)
        with self._reading() as connection:
            for chunk in chunked(keys):
                found.update(connection.scalars(query.where(table.c.key.in_(chunk))))
        return found

    def holders_of(self, keys: Sequence[str], stage: Stage) -> dict[str, ShardRef]:
        """The shard of a stage that holds each sample; keys that none holds are left out."""
        samples, shards = tables.samples, tables.shards
        query = (
            sa.select(samples.c.key, *_REF_COLUMNS)
            .join(shards, shards.c.name == samples.c.shard)
            .where(shards.c.stage == stage)
            .order_by(shards.c.round, shards.c.index, shards.c.name)
        )
        found: dict[str, ShardRef] = {}
        with self._reading() as connection:
            for chunk in chunked(keys):
                for row in connection.execute(query.where(samples.c.key.in_(chunk))).mappings():
                    facts = dict(row)
                    found[facts.pop("key")] = ShardRef(**facts)
        return found

    def holder_of(self, key: str, stage: Stage, besides: str) -> str | None:
        """The name of a shard of this stage that holds the sample, besides that of the work ``besides``."""
        samples, shards = tables.samples, tables.shards
        query = (
            sa.select(samples.c.shard)
            .join(shards, shards.c.name == samples.c.shard)
            .where(samples.c.key == key, shards.c.stage == stage, shards.c.input_digest != besides)
            .order_by(samples.c.shard)
            .limit(1)
        )
        with self._reading() as connection:
            return connection.scalar(query)


def _find(connection: sa.Connection, where: sa.ColumnElement[bool]) -> ShardRef | None:
    row = connection.execute(sa.select(*_REF_COLUMNS).where(where)).mappings().first()
    return None if row is None else ShardRef(**row)


def _present(connection: sa.Connection, ref: ShardRef) -> ShardRef:
    """The shard that stood in the way of ``ref``."""
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
    }
