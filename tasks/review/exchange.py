"""Export candidates to another review tool and import its answers. Repeating either is harmless."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from data_specs.review import ExchangeFormat, Review
from data_specs.shard import EncodedSample, ShardRef
from tasks.review.answer_table import answer_rows, csv_bytes, parquet_bytes, read_answer_table
from tasks.review.label_studio import label_config, read_annotations, tasks_json
from tasks.storage.atomic_files import write_durably
from tasks.storage.shards import ShardReader, decode_candidate
from tasks.storage.workspace import Workspace


class ExportReport(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    candidates: int
    answers: int
    """Answers that are already in the ledger. Label Studio gets none of them."""
    files: list[str]
    """Files to import into the tool, relative to the folder. The images are in ``images``."""


class ImportReport(BaseModel):
    """What happened to each record of a file."""

    model_config = ConfigDict(frozen=True)

    added: int
    known: int
    """Number of answers that the ledger already had."""
    unanswered: int
    refused: dict[str, int]
    """Number of refused records by reason."""


def export_candidates(
    workspace: Workspace, refs: Sequence[ShardRef], keys: set[str], kind: ExchangeFormat, out: Path
) -> ExportReport:
    """Write candidates for another tool. A second call writes the same files.

    Args:
        workspace: The workspace of the shards.
        refs: Shards of candidates.
        keys: The wanted candidates.
        kind: The format of the tool.
        out: The folder. It is created if missing.

    Raises:
        InputError: If nothing can be written there.
    """
    reviews: dict[str, list[Review]] = defaultdict(list)
    for review in workspace.ledger().reviews.all(sorted(keys)):
        reviews[review.candidate].append(review)
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        rows = [_written(out, sample) for sample in _samples(workspace, refs, keys)]
        answered = [answer for row in rows for answer in answer_rows(row, reviews[row["candidate"]])]
        # The lists come last: when they exist, every image they name exists.
        if kind == "label-studio":
            files = {"config.xml": label_config().encode(), "tasks.json": tasks_json(rows).encode()}
        elif kind == "csv":
            files = {"answers.csv": csv_bytes(answered)}
        else:
            files = {"answers.parquet": parquet_bytes(answered)}
        for name, data in files.items():
            write_durably(out / name, data)
    except OSError as error:
        raise InputError(out, f"cannot be written to ({error.strerror}); name another folder") from error
    answer_count = sum(len(reviews[row["candidate"]]) for row in rows)
    return ExportReport(candidates=len(rows), answers=answer_count, files=list(files))


def to_be_answered(workspace: Workspace, refs: Sequence[ShardRef]) -> set[str]:
    """The candidates of some shards that people may be asked about, by key.

    If batches ask about a shard, these are the candidates that they ask about: the others are only compared
    with them. The truth of training pairs is known, so nobody is asked about their candidates.
    """
    ledger = workspace.ledger()
    rows = ledger.shards.samples_in([ref.name for ref in refs if ref.purpose != "pairs"], "train")
    asked = ledger.batches.asking([row.key for held in rows.values() for row in held]).keys()
    keys: set[str] = set()
    for held in rows.values():
        of_shard = {row.key for row in held}
        keys |= of_shard & asked or of_shard
    return keys


def import_answers(workspace: Workspace, path: Path) -> ImportReport:
    """Write a tool's answers to the ledger, and what was refused to its rejects.

    Raises:
        InputError: If the file cannot be read as an export.
    """
    ledger = workspace.ledger()
    kind = _kind(path)
    outcomes = list(read_annotations(path) if kind == "label-studio" else read_answer_table(path))
    answers = [outcome for outcome in outcomes if isinstance(outcome, Review)]
    before = {review.event: review for review in ledger.reviews.all([answer.candidate for answer in answers])}
    keys = sorted({answer.candidate for answer in answers})
    candidates = set(ledger.shards.holders_of(keys, "candidates"))
    added, rejects = _sorted_out(kind, answers, candidates, before)
    rejects += [outcome for outcome in outcomes if isinstance(outcome, Reject)]
    asked = ledger.batches.asking(keys)
    ledger.reviews.record(
        [review.model_copy(update={"batch": asked.get(review.candidate)}) for review in added]
    )
    ledger.rejects.record(rejects)
    unanswered = sum(outcome is None for outcome in outcomes)
    return ImportReport(
        added=len(added),
        known=len(outcomes) - unanswered - len(added) - len(rejects),
        unanswered=unanswered,
        refused=dict(Counter(reject.reason.value for reject in rejects)),
    )


def _sorted_out(
    source: str, answers: Iterable[Review], candidates: set[str], before: dict[str, Review]
) -> tuple[list[Review], list[Reject]]:
    """The new reviews and the rejects. The ledger already has the rest."""
    added: list[Review] = []
    rejects: list[Reject] = []
    for review in answers:
        earlier = before.setdefault(review.event, review)
        if review.candidate not in candidates:
            rejects.append(_refused(source, review, RejectReason.UNKNOWN_CANDIDATE))
        elif earlier is review:
            added.append(review)
        elif (earlier.candidate, earlier.decision) != (review.candidate, review.decision):
            rejects.append(_refused(source, review, RejectReason.ANSWERED_OTHERWISE))
    return added, rejects


def _refused(source: str, review: Review, reason: RejectReason) -> Reject:
    detail = f"{review.decision} by {review.reviewer}"
    return Reject(source=source, name=review.candidate, reason=reason, detail=detail)


def _kind(path: Path) -> ExchangeFormat:
    kinds: dict[str, ExchangeFormat] = {".json": "label-studio", ".csv": "csv", ".parquet": "parquet"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise InputError(path, "has an unknown format; give Label Studio's .json, a .csv or a .parquet")
    return kind


def _samples(workspace: Workspace, refs: Sequence[ShardRef], keys: set[str]) -> Iterator[EncodedSample]:
    with ShardReader(workspace, refs) as reader:
        for position, key in enumerate(reader.keys):
            if key in keys:
                yield reader[position]


def _written(out: Path, sample: EncodedSample) -> dict[str, str]:
    """The columns of a candidate. Its images are written with the shard's own bytes."""
    candidate = decode_candidate(sample)
    row = {"candidate": candidate.key, "class_name": candidate.class_name, "variant": candidate.variant}
    for member, data in sample.members.items():
        if member != "json":
            name = f"images/{sample.key}.{member}"
            (out / name).write_bytes(data)
            row[member.partition(".")[0]] = name
    return row
