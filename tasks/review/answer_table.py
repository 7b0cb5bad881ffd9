"""Write and read answers as a table, CSV or Parquet: one row for each answer, or an empty row to fill in."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from data_specs.errors import InputError, first_fault
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from data_specs.review import Decision, PlainText, Review, ReviewerKind

CANDIDATE_COLUMNS: tuple[str, ...] = ("candidate", "class_name", "variant", "source", "mask", "removal")
ANSWER_COLUMNS: tuple[str, ...] = ("decision", "reason", "reviewer", "kind", "answered_at", "event")
COLUMNS: tuple[str, ...] = CANDIDATE_COLUMNS + ANSWER_COLUMNS
_NEEDED = ("candidate", "decision", "reviewer")


# What a spreadsheet takes for a formula, also after quote marks that are already there.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC. Raises ValueError if UTC has no such year."""
    try:
        moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is not a valid date in UTC") from error
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""The time of an answer, with its time zone."""


class _Row(BaseModel):
    """An answered row. The image columns are for people; they are never opened."""

    model_config = ConfigDict(frozen=True)

    candidate: PlainText = Field(min_length=1, max_length=80)
    decision: Decision
    reviewer: PlainText = Field(min_length=1, max_length=160)
    kind: ReviewerKind = "person"
    reason: PlainText = Field(default="", max_length=200)
    answered_at: Moment | None = None
    event: PlainText = Field(default="", max_length=64)

    @field_validator("decision", mode="before")
    @classmethod
    def _small(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    def review(self) -> Review:
        """The answer. If it has no event id, one person's answer to one candidate is one event."""
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
    """The rows of a candidate: one for each answer, or one to fill in.

    Args:
        row: The candidate's columns.
        reviews: Its answers so far.
    """
    if not reviews:
        return [{**row, **dict.fromkeys(ANSWER_COLUMNS, "")}]
    return [
        {**row, **{name: getattr(review, name) for name in ANSWER_COLUMNS if name != "answered_at"},
         "answered_at": review.answered_at.isoformat()}
        for review in reviews
    ]  # fmt: skip


def csv_bytes(rows: Sequence[Mapping[str, str]]) -> bytes:
    """The table as UTF-8, with the byte order mark that spreadsheets need.

    A cell that a spreadsheet would run as a formula gets ``'`` in front; `read_answer_table` removes it.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _no_formula(cell) for name, cell in row.items()} for row in rows)
    return text.getvalue().encode("utf-8-sig")


def parquet_bytes(rows: Sequence[Mapping[str, str]]) -> bytes:
    """The table as Parquet. Every column is a string, as in the CSV."""
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in COLUMNS})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def read_answer_table(path: Path) -> Iterator[Review | Reject | None]:
    """A review or a reject for each row, and None for a row that nobody has filled in.

    Raises:
        InputError: If the file is missing, is no table, or lacks a column.
    """
    kind = path.suffix.removeprefix(".").lower()
    records = _csv_records(path) if kind == "csv" else _parquet_records(path)
    return (_outcome(kind, f"{path.name}[{number}]", record) for number, record in enumerate(records))


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
        records = [{name: _as_meant(cell) for name, cell in record.items()} for record in reader]
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
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


def _no_formula(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _as_meant(cell: Any) -> Any:
    """The reverse of `_no_formula`. None and lists, which come from short and long rows, stay as they are."""
    marked = isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell)
    return cell[1:] if marked else cell


def _refuse_missing(path: Path, columns: Iterable[str]) -> None:
    missing = [name for name in _NEEDED if name not in set(columns)]
    if missing:
        raise InputError(path, f"the column {missing[0]} is missing; keep those that `review export` wrote")
