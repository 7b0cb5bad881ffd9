"""Record shards and their samples. A shard's row is its commit."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_args

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import Split
from data_specs.reject import Reject
from data_specs.shard import Purpose, SampleRow, ShardRef, Stage
from tasks.storage.ledger.database import LedgerPart, among, insert_new, insert_one, now
from tasks.storage.ledger.draws import measuring_scenes
from tasks.storage.ledger.rejects import insert_rejects

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


class AnsweredCandidate(NamedTuple):
    """A candidate about which somebody gave an answer, whether or not it counts."""

    shard: str
    key: str
    item: str | None
    """The pool item. None in shards of earlier versions."""


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

    def all_named(self, names: Iterable[str]) -> dict[str, ShardRef]:
        """The shards of these names, with one query for all.

        Raises:
            LedgerError: If there is no shard of one of the names.
        """
        wanted = dict.fromkeys(names)
        query = sa.select(*_REF_COLUMNS)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(among(connection, tables.shards.c.name, wanted)))
            refs = {ref.name: ref for ref in map(_ref, rows)}
        absent = [name for name in wanted if name not in refs]
        if absent:
            raise LedgerError(f"the ledger has no shard {absent[0]}")
        return {name: refs[name] for name in wanted}

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
            return [_ref(row) for row in connection.execute(query)]

    def of_works(self, input_digests: Sequence[str]) -> list[ShardRef]:
        """The shards that these works made, as far as they exist."""
        query = sa.select(*_REF_COLUMNS)
        with self._database.reading() as connection:
            chosen = among(connection, tables.shards.c.input_digest, input_digests)
            return [_ref(row) for row in connection.execute(query.where(chosen))]

    def samples_of(self, shard: str) -> list[SampleRow]:
        """The samples of a shard, in its order."""
        table = tables.samples
        columns = [table.c[field] for field in SampleRow.__dataclass_fields__]
        query = sa.select(*columns).where(table.c.shard == shard).order_by(table.c.position)
        with self._database.reading() as connection:
            return [SampleRow(*row) for row in connection.execute(query)]

    def samples_in(
        self, shards: Sequence[str] | None = None, split: Split | None = None
    ) -> dict[str, list[SampleRow]]:
        """The samples of some shards (None = all) in a split (None = any), each in its order, with one query.

        Returns:
            A list for each given shard, in the given order. Without given shards, for each that has samples.
        """
        table = tables.samples
        columns = [table.c[field] for field in SampleRow.__dataclass_fields__]
        query = sa.select(table.c.shard, *columns).order_by(table.c.shard, table.c.position)
        if split is not None:
            query = query.where(table.c.split == split)
        samples: dict[str, list[SampleRow]] = {name: [] for name in shards or ()}
        with self._database.reading() as connection:
            if shards is not None:
                query = query.where(among(connection, table.c.shard, samples))
            for shard, *values in connection.execute(query):
                samples.setdefault(shard, []).append(SampleRow(*values))
        return samples

    def answered(self, last_round: int | None = None) -> list[AnsweredCandidate]:
        """Candidates of the training split with an answer, without those that measure a discriminator.

        Args:
            last_round: The last round that counts. None: all.
        """
        table = tables.samples
        columns = [table.c[field] for field in AnsweredCandidate._fields]
        query = sa.select(*columns).where(
            table.c.key.in_(sa.select(tables.reviews.c.candidate)),
            table.c.split == "train",
            table.c.scene.not_in(measuring_scenes()),
        )
        # Without a join: databases would begin it at the shards, and read every sample of the stage.
        with self._database.reading() as connection:
            rows = [AnsweredCandidate(*row) for row in connection.execute(query)]
        shards = self.all_named(row.shard for row in rows)
        of_stage = [row for row in rows if shards[row.shard].stage == "candidates"]
        return [row for row in of_stage if last_round is None or shards[row.shard].round <= last_round]

    def keys_of_split(self, keys: Sequence[str], split: Split) -> set[str]:
        """Those of ``keys`` whose sample is in a split."""
        table = tables.samples
        query = sa.select(table.c.key).where(table.c.split == split)
        with self._database.reading() as connection:
            return set(connection.scalars(query.where(among(connection, table.c.key, keys))))

    def holders_of(self, keys: Sequence[str], stage: Stage) -> dict[str, ShardRef]:
        """The shard of a stage that holds each sample. Keys that no shard holds are left out.

        If several shards hold one, it is the last of them in the order of `all`.
        """
        table = tables.samples
        query = sa.select(table.c.key, table.c.shard)
        # Without a join, see `answered`.
        with self._database.reading() as connection:
            rows = connection.execute(query.where(among(connection, table.c.key, keys))).all()
        shards = self.all_named(row.shard for row in rows)
        held = [(row.key, shards[row.shard]) for row in rows if shards[row.shard].stage == stage]
        return dict(sorted(held, key=lambda one: place_of(one[1])))

    def other_holders(self, keys: Sequence[str], stage: Stage, besides: str) -> dict[str, str]:
        """By sample, the first shard by name that holds it, of this stage and not of the work ``besides``.

        Samples without such a shard are left out.
        """
        table = tables.samples
        query = sa.select(table.c.key, table.c.shard).order_by(table.c.shard)
        # Without a join, see `answered`.
        with self._database.reading() as connection:
            rows = connection.execute(query.where(among(connection, table.c.key, keys))).all()
        shards = self.all_named(row.shard for row in rows)
        holders: dict[str, str] = {}
        for row in rows:
            shard = shards[row.shard]
            if shard.stage == stage and shard.input_digest != besides:
                holders.setdefault(row.key, row.shard)
        return holders

    def split_counts(self, shards: Sequence[str]) -> dict[str, int]:
        """The number of samples of some shards by split, with one query for all."""
        table = tables.samples
        query = sa.select(table.c.split, sa.func.count()).group_by(table.c.split).order_by(table.c.split)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(among(connection, table.c.shard, shards)))
            return {split: number for split, number in rows}


def _find(connection: sa.Connection, where: sa.ColumnElement[bool]) -> ShardRef | None:
    row = connection.execute(sa.select(*_REF_COLUMNS).where(where)).first()
    return None if row is None else _ref(row)


def _ref(row: sa.Row[Any]) -> ShardRef:
    # Not by name: looking up a row's columns by name costs as much as the rest.
    return ShardRef(**dict(zip(ShardRef.model_fields, row, strict=True)))


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
