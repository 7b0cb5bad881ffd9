"""Record review batches: what people are asked, and the progress."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LedgerError, UnknownKeyError
from data_specs.keys import derive_key
from data_specs.review import KnownAnswer
from data_specs.review_batch import BatchCounts, BatchEvent, BatchEventKind, Progress, ReviewBatch, ReviewItem
from data_specs.shard import ShardRef
from tasks.storage.ledger.database import LedgerPart, chunked, insert_new, insert_one, now
from tasks.storage.ledger.kept_counts import (
    count_items,
    enabled,
    missing_answers,
    stands,
    start_counts,
    unfinished,
)

_BATCH = [tables.review_batches.c[field] for field in ReviewBatch.model_fields]
_ITEM = [tables.review_items.c[field] for field in ReviewItem.model_fields]


_PACE = timedelta(minutes=5)


class BatchLedger(LedgerPart):
    """The part of the ledger for review batches."""

    def open(self, batch: ReviewBatch, items: Sequence[ReviewItem]) -> None:
        """Open a batch whose items come in this order. Opening the same batch twice is harmless.

        Raises:
            LedgerError: If a batch of this name has another round or policy.
        """
        with self._database.writing() as connection:
            if not insert_one(connection, tables.review_batches, batch.model_dump(mode="python")):
                present = find_batch(connection, batch.name)
                if (present.round, present.policy) != (batch.round, batch.policy):
                    raise LedgerError(
                        f"review batch {batch.name} was opened with other settings; give another name"
                    )
                return
            _record(connection, batch.name, "opened", "")
            start_counts(connection, batch.name)
            _append(connection, batch.name, items)

    def extend(self, name: str, items: Sequence[ReviewItem], reason: str = "") -> None:
        """Add items at the end of a batch. Existing items stay as they are.

        Raises:
            UnknownKeyError: If there is no such batch.
        """
        with self._database.writing() as connection:
            find_batch(connection, name, hold=True)
            if _append(connection, name, items):
                _record(connection, name, "extended", reason)

    def close(self, name: str, kind: BatchEventKind, reason: str = "") -> None:
        """Record once that a batch was ``continued`` with its answers so far, or ``abandoned``.

        Nobody gets more of its items, unless it is extended.

        Raises:
            UnknownKeyError: If there is no such batch.
        """
        with self._database.writing() as connection:
            find_batch(connection, name, hold=True)
            if last_event(connection, name) != kind:
                _record(connection, name, kind, reason)

    def named(self, name: str) -> ReviewBatch:
        """The batch of this name.

        Raises:
            UnknownKeyError: If there is none.
        """
        with self._database.reading() as connection:
            return find_batch(connection, name)

    def all(self) -> list[ReviewBatch]:
        """All batches, in the order of opening."""
        query = sa.select(*_BATCH).order_by(tables.review_batches.c.sequence)
        with self._database.reading() as connection:
            return [ReviewBatch(**row) for row in connection.execute(query).mappings()]

    def events(self, name: str) -> list[BatchEvent]:
        """The events of a batch, first to last."""
        table = tables.batch_events
        columns = [table.c[field] for field in BatchEvent.model_fields]
        query = sa.select(*columns).where(table.c.batch == name).order_by(table.c.sequence)
        with self._database.reading() as connection:
            return [BatchEvent(**row) for row in connection.execute(query).mappings()]

    def items(self, name: str) -> list[ReviewItem]:
        """The items of a batch, in the order of its queue."""
        table = tables.review_items
        query = sa.select(*_ITEM).where(table.c.batch == name).order_by(table.c.position)
        with self._database.reading() as connection:
            return [ReviewItem(**row) for row in connection.execute(query).mappings()]

    def gold(self, name: str) -> dict[str, KnownAnswer]:
        """The known answer of each gold item of a batch."""
        table = tables.review_items
        query = sa.select(table.c.candidate, table.c.gold).where(
            table.c.batch == name, table.c.gold.is_not(None)
        )
        with self._database.reading() as connection:
            return {candidate: answer for candidate, answer in connection.execute(query)}

    def asking(self, candidates: Sequence[str]) -> dict[str, str]:
        """The newest batch that asks about each of these candidates. Others are left out."""
        items, batches = tables.review_items, tables.review_batches
        query = (
            sa.select(items.c.candidate, items.c.batch)
            .join(batches, batches.c.name == items.c.batch)
            .order_by(batches.c.sequence)
        )
        asking: dict[str, str] = {}
        with self._database.reading() as connection:
            for chunk in chunked(candidates):
                rows = connection.execute(query.where(items.c.candidate.in_(chunk)))
                asking.update({candidate: batch for candidate, batch in rows})
        return asking

    def counts(self, name: str) -> BatchCounts:
        """The progress of a batch.

        Raises:
            UnknownKeyError: If there is no such batch.
        """
        with self._database.reading() as connection:
            find_batch(connection, name)
            return BatchCounts(**_item_counts(connection, name), **_answer_counts(connection, name))

    def wanting(self) -> list[str]:
        """Batches that want answers and were neither continued nor abandoned, oldest first."""
        batches, counts, events = tables.review_batches, tables.batch_counts, tables.batch_events
        # While a recount is not finished, a batch that seems complete may still get items back.
        recounted = sa.exists().where(tables.recounts.c.batch == counts.c.batch)
        last = (
            sa.select(events.c.kind)
            .where(events.c.batch == batches.c.name)
            .order_by(events.c.sequence.desc())
            .limit(1)
            .correlate(batches)
            .scalar_subquery()
        )
        query = (
            sa.select(batches.c.name)
            .join(counts, counts.c.batch == batches.c.name)
            .where(sa.or_(counts.c.answers_left > 0, recounted), last.not_in(["continued", "abandoned"]))
            .order_by(batches.c.sequence)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def progress(self, batch: str, person: str, now: datetime) -> Progress:
        """What a person sees after each answer."""
        kept, mine, reviews = tables.batch_counts, tables.answer_counts, tables.reviews
        left = sa.select(kept.c.answers_left).where(kept.c.batch == batch).scalar_subquery()
        answers = (
            sa.select(sa.func.sum(mine.c.answers))
            .where(mine.c.batch == batch, mine.c.reviewer == person, enabled())
            .scalar_subquery()
        )
        recent = sa.and_(
            reviews.c.batch == batch,
            reviews.c.reviewer == person,
            reviews.c.answered_at > now - _PACE,
            stands(),
        )
        query = sa.select(left, answers, sa.func.count(), sa.func.min(reviews.c.answered_at)).where(recent)
        with self._database.reading() as connection:
            missing, total, count, first = connection.execute(query).one()
        minutes = max((now - first).total_seconds() / 60, 1.0) if count else 1.0
        return Progress(left=missing or 0, answers=int(total or 0), per_minute=count / minutes)

    def shard_under_review(self, candidate: str) -> ShardRef | None:
        """The shard of a candidate that some batch asks about. None for any other key."""
        samples, shards, items = tables.samples, tables.shards, tables.review_items
        query = (
            sa.select(*[shards.c[field] for field in ShardRef.model_fields])
            .join(samples, samples.c.shard == shards.c.name)
            .where(
                samples.c.key == candidate,
                shards.c.stage == "candidates",
                sa.exists().where(items.c.candidate == candidate),
            )
            .order_by(shards.c.name)
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else ShardRef(**row)


def find_batch(connection: sa.Connection, name: str, hold: bool = False) -> ReviewBatch:
    """The batch of this name, locked against other writers if wanted. Else raises UnknownKeyError."""
    query = sa.select(*_BATCH).where(tables.review_batches.c.name == name)
    row = connection.execute(query.with_for_update() if hold else query).mappings().first()
    if row is None:
        raise UnknownKeyError(f"there is no review batch {name}; `cleanplate review status` lists all")
    return ReviewBatch(**row)


def last_event(connection: sa.Connection, name: str) -> BatchEventKind:
    """The last event of a batch."""
    table = tables.batch_events
    query = sa.select(table.c.kind).where(table.c.batch == name).order_by(table.c.sequence.desc()).limit(1)
    return connection.execute(query).scalar_one()


def _append(connection: sa.Connection, name: str, items: Sequence[ReviewItem]) -> bool:
    """Add the items that are missing. Returns whether there were any."""
    table = tables.review_items
    present = set(connection.scalars(sa.select(table.c.candidate).where(table.c.batch == name)))
    new = [item for item in items if item.candidate not in present]
    if len({item.candidate for item in new}) < len(new):
        raise LedgerError(f"review batch {name} would hold a candidate twice; give each candidate once")
    rows = [
        {**item.model_dump(), "batch": name, "position": position, "answers_left": item.answers_wanted}
        for position, item in enumerate(new, start=len(present))
    ]
    for chunk in chunked(rows):
        insert_new(connection, table, chunk)
    count_items(connection, name, new)
    return bool(rows)


def _record(connection: sa.Connection, name: str, kind: BatchEventKind, reason: str) -> None:
    table = tables.batch_events
    before = connection.scalar(sa.select(sa.func.count()).where(table.c.batch == name))
    event = derive_key("batch event", name, before)
    row = {"event": event, "batch": name, "kind": kind, "reason": reason, "recorded_at": now()}
    insert_new(connection, table, [row])


def _item_counts(connection: sa.Connection, name: str) -> dict[str, int]:
    kept = tables.batch_counts
    query = sa.select(
        kept.c["items"],
        kept.c.answers_wanted.label("wanted"),
        kept.c.answers_left.label("left"),
        kept.c.complete,
    ).where(kept.c.batch == name)
    counts = dict(connection.execute(query).mappings().one())
    if unfinished(connection, name):
        counts |= _left_from_reviews(connection, name)
    return counts


def _left_from_reviews(connection: sa.Connection, name: str) -> dict[str, int]:
    """What is left, from all answers of a batch. It holds in the midst of a recount, too."""
    items = tables.review_items
    left = sa.select(missing_answers().label("left")).where(items.c.batch == name).subquery().c.left
    complete = sa.func.sum(sa.case((left == 0, 1), else_=0))
    query = sa.select(sa.func.coalesce(sa.func.sum(left), 0).label("left"), complete.label("complete"))
    return {figure: int(number) for figure, number in connection.execute(query).mappings().one().items()}


def _answer_counts(connection: sa.Connection, name: str) -> dict[str, int]:
    table = tables.answer_counts
    figures = ("answers", "yes", "no", "skipped", "gold_answers", "gold_right")
    sums = [sa.func.coalesce(sa.func.sum(table.c[figure]), 0).label(figure) for figure in figures]
    query = sa.select(*sums).where(table.c.batch == name, enabled())
    return {figure: int(number) for figure, number in connection.execute(query).mappings().one().items()}
