"""Answers as a table, CSV or Parquet: a row an answer, or a row to fill in."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from data_specs.review import Decision, Review, ReviewerKind

CANDIDATE_COLUMNS: tuple[str, ...] = ("candidate", "class_name", "variant", "source", "mask", "removal")
ANSWER_COLUMNS: tuple[str, ...] = ("decision", "reason", "reviewer", "kind", "answered_at", "event")
COLUMNS: tuple[str, ...] = CANDIDATE_COLUMNS + ANSWER_COLUMNS
_NEEDED = ("candidate", "decision", "reviewer")


class _Row(BaseModel):
    """An answered row. The pictures' columns are for people; nothing in them is opened."""

    model_config = ConfigDict(frozen=True)

    candidate: str = Field(min_length=1, max_length=80)
    decision: Decision
    reviewer: str = Field(min_length=1, max_length=160)
    kind: ReviewerKind = "person"
    reason: str = Field(default="", max_length=200)
    answered_at: AwareDatetime | None = None
    event: str = Field(default="", max_length=64)

    @field_validator("decision", mode="before")
    @classmethod
    def _small(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    def review(self) -> Review:
        """The answer; without an event of its own, a person's answer to a candidate is one event."""
        return Review(
            event=self.event or derive_key("table", self.candidate, self.reviewer),
            candidate=self.candidate,
            decision=self.decision,
            reviewer=self.reviewer,
            kind=self.kind,
            reason=self.reason if self.decision == "no" else "",
            answered_at=self.answered_at or datetime.now(UTC),
        )


def answer_rows(row: Mapping[str, str], reviews: Sequence[Review]) -> list[dict[str, str]]:
    """A candidate's rows: one for each answer, or one to fill in.

    Args:
        row: The candidate's columns.
        reviews: Its answers so far.
    """
    if not reviews:
        return [{**row, **dict.fromkeys(ANSWER_COLUMNS, "")}]
    return [
        {**row, **{name: getattr(each, name) for name in ANSWER_COLUMNS if name != "answered_at"},
         "answered_at": each.answered_at.isoformat()}
        for each in reviews
    ]  # fmt: skip


def csv_bytes(rows: Sequence[Mapping[str, str]]) -> bytes:
    """UTF-8 with the mark by which spreadsheets know it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def parquet_bytes(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Every column a string, as in the CSV."""
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in COLUMNS})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def read_answer_table(path: Path) -> Iterator[Review | Reject | None]:
    """A review or a reject for each row; None for a row nobody has filled in.

    Raises:
        InputError: When the file is missing, is no table, or lacks a column.
    """
    kind = path.suffix.removeprefix(".").lower()
    records = _csv_records(path) if kind == "csv" else _parquet_records(path)
    return (_outcome(kind, f"{path.name}[{number}]", record) for number, record in enumerate(records))


def first_fault(error: ValidationError) -> str:
    """Where and what, of the first thing wrong."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"


def _outcome(kind: str, name: str, record: Mapping[str, Any]) -> Review | Reject | None:
    filled = {key: value for key, value in record.items() if key and value not in (None, "")}
    if not filled.get("decision"):
        return None
    try:
        return _Row.model_validate(filled).review()
    except ValidationError as error:
        return Reject(source=kind, name=name, reason=RejectReason.BAD_RECORD, detail=first_fault(error))


def _csv_records(path: Path) -> list[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        records = list(reader)
    except OSError as error:
        raise InputError(path, f"it cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"it is not CSV in UTF-8 ({error})") from error
    _refuse_missing(path, reader.fieldnames or ())
    return records


def _parquet_records(path: Path) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path)
    except OSError as error:
        raise InputError(path, f"it cannot be read ({error})") from error
    except pa.ArrowException as error:
        raise InputError(path, "it is not Parquet") from error
    _refuse_missing(path, table.column_names)
    return table.to_pylist()


def _refuse_missing(path: Path, columns: Iterable[str]) -> None:
    missing = [name for name in _NEEDED if name not in set(columns)]
    if missing:
        raise InputError(path, f"the column {missing[0]} is missing; keep those that `review export` wrote")
