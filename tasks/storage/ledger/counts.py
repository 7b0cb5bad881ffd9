"""Count what the ledger holds and what was added in a period. The database does the counting."""

from collections import Counter
from datetime import datetime

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from data_specs import ledger as tables
from data_specs.shard import Purpose
from tasks.storage.ledger.database import LedgerPart, between
from tasks.storage.ledger.kept_counts import stands


class ShardCount(BaseModel):
    """The shards of one stage."""

    model_config = ConfigDict(frozen=True)

    shards: int
    samples: int
    size_bytes: int


class ScoreCount(BaseModel):
    """A discriminator's scores, or some of them."""

    model_config = ConfigDict(frozen=True)

    count: int
    mean: float
    """0..1."""
    deviation: float
    """Standard deviation."""


_PAGES = ("page_count", "page_size")


class CountLedger(LedgerPart):
    """The part of the ledger that counts. It writes nothing."""

    def shards(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, ShardCount]:
        """By stage: the shards made from ``since`` to before ``until`` (None = no limit)."""
        table = tables.shards
        sums = (sa.func.count(), sa.func.sum(table.c.samples), sa.func.sum(table.c.size_bytes))
        query = (
            sa.select(table.c.stage, *sums)
            .where(between(table.c.created_at, since, until))
            .group_by(table.c.stage)
            .order_by(table.c.stage)
        )
        with self._database.reading() as connection:
            return {
                stage: ShardCount(shards=shards, samples=int(samples), size_bytes=int(size))
                for stage, shards, samples, size in connection.execute(query)
            }

    def reviews(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> dict[tuple[str, str], int]:
        """By who answered (``person``, ``oracle``) and by decision: the number of valid answers."""
        table = tables.reviews
        query = (
            sa.select(table.c.kind, table.c.decision, sa.func.count())
            .where(stands(), between(table.c.answered_at, since, until))
            .group_by(table.c.kind, table.c.decision)
            .order_by(table.c.kind, table.c.decision)
        )
        with self._database.reading() as connection:
            return {(kind, decision): count for kind, decision, count in connection.execute(query)}

    def scores(self) -> dict[str, ScoreCount]:
        """The scores by the discriminator's hash."""
        table = tables.scores
        squares = sa.func.avg(table.c.score * table.c.score)
        query = (
            sa.select(table.c.discriminator, sa.func.count(), sa.func.avg(table.c.score), squares)
            .group_by(table.c.discriminator)
            .order_by(table.c.discriminator)
        )
        with self._database.reading() as connection:
            return {discriminator: _score_count(*row) for discriminator, *row in connection.execute(query)}

    def models(self) -> dict[str, int]:
        """The number of models by kind."""
        table = tables.models
        query = sa.select(table.c.kind, sa.func.count()).group_by(table.c.kind).order_by(table.c.kind)
        with self._database.reading() as connection:
            return {kind: count for kind, count in connection.execute(query)}

    def database_bytes(self) -> int:
        """Bytes of the ledger's database, without what SQLite has not yet copied into its file."""
        with self._database.reading() as connection:
            if connection.dialect.name == "postgresql":
                return connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0
            sizes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in _PAGES]
            return int(sizes[0]) * int(sizes[1])

    def answers(self, round: int, purpose: Purpose) -> Counter[str]:
        """Valid decisions on a round's candidates of this purpose."""
        reviews = tables.reviews
        query = (
            sa.select(reviews.c.decision, sa.func.count())
            .where(stands(), reviews.c.candidate.in_(_candidates(round, purpose)))
            .group_by(reviews.c.decision)
        )
        with self._database.reading() as connection:
            return Counter({decision: count for decision, count in connection.execute(query)})

    def newest_scores(self, round: int, purpose: Purpose) -> ScoreCount | None:
        """Scores of a round's candidates of this purpose, by the newest discriminator that scored any."""
        table, models = tables.scores, tables.models
        squares = sa.func.avg(table.c.score * table.c.score)
        query = (
            sa.select(sa.func.count(), sa.func.avg(table.c.score), squares)
            .join(models, models.c.hash == table.c.discriminator)
            .where(table.c.candidate.in_(_candidates(round, purpose)))
            .group_by(models.c.hash, models.c.created_at)
            .order_by(models.c.created_at.desc(), models.c.hash)
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _score_count(*row)


def _candidates(round: int, purpose: Purpose) -> sa.Select[tuple[str]]:
    samples, shards = tables.samples, tables.shards
    return (
        sa.select(samples.c.key)
        .join(shards, shards.c.name == samples.c.shard)
        .where(
            shards.c.stage == "candidates",
            shards.c.round == round,
            shards.c.purpose == purpose,
        )
    )


def _score_count(count: int, mean: float, mean_square: float) -> ScoreCount:
    return ScoreCount(count=count, mean=mean, deviation=max(0.0, mean_square - mean * mean) ** 0.5)
