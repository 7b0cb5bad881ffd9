"""Record models with their cards, their measurements, and the promotions that make one the champion."""

import json
from collections.abc import Mapping

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import derive_key
from data_specs.model_record import ModelKind, ModelMeasurement, ModelRecord, Promotion, PromotionAction
from tasks.storage.ledger.database import LedgerPart, insert_new, now

_LIST = "`cleanplate model list` shows those there are"


class ModelLedger(LedgerPart):
    """The part of the ledger for models."""

    def record(self, record: ModelRecord) -> None:
        """Add a model. An existing one stays as it was."""
        with self._database.writing() as connection:
            insert_new(connection, tables.models, [record.model_dump()])

    def of_hash(self, hash: str) -> ModelRecord:
        """The model of this hash.

        Raises:
            LedgerError: If there is none.
        """
        with self._database.reading() as connection:
            return _model(connection, hash)

    def has(self, hash: str) -> bool:
        """Whether a model of this hash is recorded."""
        query = sa.select(sa.literal(1)).where(tables.models.c.hash == hash)
        with self._database.reading() as connection:
            return connection.scalar(query) is not None

    def named(self, start: str) -> ModelRecord:
        """The only model whose hash starts with ``start``.

        Raises:
            LedgerError: If there is none, or more than one.
        """
        table = tables.models
        query = sa.select(table).where(table.c.hash.startswith(start, autoescape=True))
        with self._database.reading() as connection:
            found = [ModelRecord(**row) for row in connection.execute(query).mappings()]
        exact = [each for each in found if each.hash == start]
        if len(exact or found) != 1:
            fault = f"{start} begins the hashes of {len(found)} models; write more of it"
            raise LedgerError(fault if found else f"the ledger has no model {start}; {_LIST}")
        return (exact or found)[0]

    def all(self, kind: ModelKind | None = None) -> list[ModelRecord]:
        """All models, or those of a kind, oldest first."""
        table = tables.models
        query = sa.select(table).order_by(table.c.created_at, table.c.hash)
        with self._database.reading() as connection:
            rows = connection.execute(query if kind is None else query.where(table.c.kind == kind))
            return [ModelRecord(**row) for row in rows.mappings()]

    def last_trained_version(self) -> int | None:
        """The dataset version that a remover was trained on last. None before the first.

        A distilled remover learnt its teacher's removals, and nothing new of its version.
        """
        table = tables.models
        query = (
            sa.select(table.c.dataset_version)
            .where(
                table.c.kind == "remover", sa.not_(table.c.distilled), table.c.dataset_version.is_not(None)
            )
            .order_by(table.c.created_at.desc(), table.c.hash.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.scalar(query)

    def record_measurement(
        self, hash: str, measured_on: str, dataset_version: int | None, values: Mapping[str, float]
    ) -> None:
        """Add the results of a measurement. The same results twice are one event.

        Raises:
            LedgerError: If the model is unknown.
        """
        stated = json.dumps(dict(values), sort_keys=True)
        row = {
            "event": derive_key("model measurement", hash, measured_on, dataset_version or 0, stated),
            "hash": hash,
            "measured_on": measured_on,
            "dataset_version": dataset_version,
            "values": dict(values),
            "measured_at": now(),
        }
        with self._database.writing() as connection:
            _model(connection, hash)
            insert_new(connection, tables.model_measurements, [row])

    def measurements(self, hash: str) -> list[ModelMeasurement]:
        """The measurements of a model, first to last."""
        table = tables.model_measurements
        columns = [table.c[field] for field in ModelMeasurement.model_fields]
        query = sa.select(*columns).where(table.c.hash == hash).order_by(table.c.sequence)
        with self._database.reading() as connection:
            return [ModelMeasurement(**row) for row in connection.execute(query).mappings()]

    def promote(
        self,
        kind: ModelKind,
        hash: str,
        reason: str,
        *,
        event: str | None = None,
        action: PromotionAction = "promoted",
    ) -> None:
        """Make a model the champion of its kind.

        Args:
            kind: Its kind.
            hash: The model.
            reason: Why, in one sentence.
            event: The event's id. By default it follows from kind, hash and reason. A flow may then run again
                from its start without moving the champion back.
            action: Whether it is a promotion, or a rollback to a former champion.

        Raises:
            LedgerError: If the model is unknown or of another kind.
        """
        values = {
            "event": event or derive_key("promotion", kind, hash, reason),
            "kind": kind,
            "hash": hash,
            "reason": reason,
            "promoted_at": now(),
            "action": action,
        }
        with self._database.writing() as connection:
            if _model(connection, hash).kind != kind:
                raise LedgerError(f"model {hash} is not a {kind}; name a model of this kind")
            insert_new(connection, tables.promotions, [values])

    def champion(self, kind: ModelKind) -> ModelRecord | None:
        """The model of this kind that was promoted last."""
        table = tables.promotions
        query = sa.select(table.c.hash).where(table.c.kind == kind).order_by(table.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            hash = connection.scalar(query)
            return None if hash is None else _model(connection, hash)

    def promotions(self, kind: ModelKind) -> list[Promotion]:
        """Every promotion of this kind, first to last."""
        table = tables.promotions
        columns = [table.c[field] for field in Promotion.model_fields]
        query = sa.select(*columns).where(table.c.kind == kind).order_by(table.c.sequence)
        with self._database.reading() as connection:
            return [Promotion(**row) for row in connection.execute(query).mappings()]


def _model(connection: sa.Connection, hash: str) -> ModelRecord:
    row = connection.execute(sa.select(tables.models).where(tables.models.c.hash == hash)).mappings().first()
    if row is None:
        raise LedgerError(f"the ledger has no model {hash}; {_LIST}")
    return ModelRecord(**row)
