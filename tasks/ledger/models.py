"""Models, and the promotions that make one the champion of its kind."""

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError
from data_specs.keys import derive_key
from data_specs.model_record import ModelKind, ModelRecord, Promotion
from tasks.ledger.base import LedgerBase, insert_new, now


class ModelLedger(LedgerBase):
    """The models' part of the ledger."""

    def record_model(self, record: ModelRecord) -> None:
        """Adds a model; one already there stays as it was."""
        with self._writing() as connection:
            insert_new(connection, tables.models, [record.model_dump()])

    def model(self, hash: str) -> ModelRecord:
        """The model of this hash.

        Raises:
            LedgerError: When there is none.
        """
        with self._reading() as connection:
            return _model(connection, hash)

    def last_trained_version(self, kind: ModelKind) -> int | None:
        """The dataset version on which a model of this kind was trained last; None before the first."""
        table = tables.models
        query = (
            sa.select(table.c.dataset_version)
            .where(table.c.kind == kind, table.c.dataset_version.is_not(None))
            .order_by(table.c.created_at.desc(), table.c.hash)
            .limit(1)
        )
        with self._reading() as connection:
            return connection.scalar(query)

    def promote(self, kind: ModelKind, hash: str, reason: str) -> None:
        """Makes a model the champion of its kind.

        The same kind, hash and reason are the same event, so a flow may run again from its top
        without moving the champion back; to promote a model once more, give a new reason.

        Raises:
            LedgerError: For a model that is unknown or of another kind.
        """
        values = {
            "event": derive_key("promotion", kind, hash, reason),
            "kind": kind,
            "hash": hash,
            "reason": reason,
            "promoted_at": now(),
        }
        with self._writing() as connection:
            if _model(connection, hash).kind != kind:
                raise LedgerError(f"model {hash} is no {kind}, so it cannot be promoted as one")
            insert_new(connection, tables.promotions, [values])

    def champion(self, kind: ModelKind) -> ModelRecord | None:
        """The model of this kind that was promoted last."""
        table = tables.promotions
        query = sa.select(table.c.hash).where(table.c.kind == kind).order_by(table.c.sequence.desc()).limit(1)
        with self._reading() as connection:
            hash = connection.scalar(query)
            return None if hash is None else _model(connection, hash)

    def promotions(self, kind: ModelKind) -> list[Promotion]:
        """Every promotion of this kind, first to last."""
        table = tables.promotions
        columns = [table.c[field] for field in Promotion.model_fields]
        query = sa.select(*columns).where(table.c.kind == kind).order_by(table.c.sequence)
        with self._reading() as connection:
            return [Promotion(**row) for row in connection.execute(query).mappings()]


def _model(connection: sa.Connection, hash: str) -> ModelRecord:
    row = connection.execute(sa.select(tables.models).where(tables.models.c.hash == hash)).mappings().first()
    if row is None:
        raise LedgerError(f"the ledger knows no model {hash}")
    return ModelRecord(**row)
