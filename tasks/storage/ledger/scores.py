"""Scores: what each judge thinks of each candidate."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from data_specs import ledger as tables
from tasks.storage.ledger.database import LedgerBase, chunked, insert_new


class ScoreLedger(LedgerBase):
    """The scores' part of the ledger."""

    def record_scores(self, judge_hash: str, scores: Mapping[str, float]) -> None:
        """Adds a judge's scores, candidate to 0..1; one already there stays as it was."""
        rows = [
            {"judge": judge_hash, "candidate": candidate, "score": float(score)}
            for candidate, score in scores.items()
        ]
        with self._writing() as connection:
            for chunk in chunked(rows):
                insert_new(connection, tables.scores, chunk)

    def scores(self, judge_hash: str, candidates: Sequence[str] | None = None) -> dict[str, float]:
        """A judge's scores of these candidates (None = all), by key; the unscored are left out."""
        table = tables.scores
        query = sa.select(table.c.candidate, table.c.score).where(table.c.judge == judge_hash)
        found: dict[str, float] = {}
        with self._reading() as connection:
            if candidates is None:
                found.update({key: score for key, score in connection.execute(query)})
            else:
                for chunk in chunked(candidates):
                    rows = connection.execute(query.where(table.c.candidate.in_(chunk)))
                    found.update({key: score for key, score in rows})
        return dict(sorted(found.items()))

    def newest_scores(self, candidates: Sequence[str]) -> dict[str, float]:
        """What the newest judge that scored it thinks of each candidate; the unscored are left out."""
        table, models = tables.scores, tables.models
        query = (
            sa.select(table.c.candidate, table.c.score)
            .join(models, models.c.hash == table.c.judge)
            .order_by(models.c.created_at, models.c.hash)
        )
        found: dict[str, float] = {}
        with self._reading() as connection:
            for chunk in chunked(candidates):
                rows = connection.execute(query.where(table.c.candidate.in_(chunk)))
                found.update({key: score for key, score in rows})
        return found
