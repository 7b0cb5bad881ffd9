"""Teams with a tool of their own: candidates out with their images, answers in, twice without harm."""

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
from tasks.storage.pool import items_of
from tasks.storage.shards import ShardReader, decode_candidate
from tasks.storage.workspace import Workspace


class ExportReport(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    candidates: int
    answers: int
    """Already in the ledger; Label Studio is given none of them."""
    files: list[str]
    """To bring into the tool, relative to the folder; the images lie in ``images``."""


class ImportReport(BaseModel):
    """What became of each record of a file."""

    model_config = ConfigDict(frozen=True)

    added: int
    known: int
    """In the ledger before."""
    unanswered: int
    refused: dict[str, int]
    """Count by reason."""


def export_candidates(
    workspace: Workspace, refs: Sequence[ShardRef], keys: set[str] | None, kind: ExchangeFormat, out: Path
) -> ExportReport:
    """Write candidates for another tool; done again it writes the same files.

    Args:
        workspace: Where the shards lie.
        refs: Shards of candidates.
        keys: The candidates wanted; None = all of the shards that are of the training split.
        kind: For which tool.
        out: The folder; made where it is missing.

    Raises:
        InputError: When nothing can be written there.
    """
    reviews: dict[str, list[Review]] = defaultdict(list)
    for review in workspace.ledger().reviews():
        reviews[review.candidate].append(review)
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        rows = [_written(out, sample) for sample in _samples(workspace, refs, keys)]
        answered = [each for row in rows for each in answer_rows(row, reviews[row["candidate"]])]
        # The lists come last: where they are, every image they name is.
        if kind == "label-studio":
            files = {"config.xml": label_config().encode(), "tasks.json": tasks_json(rows).encode()}
        elif kind == "csv":
            files = {"answers.csv": csv_bytes(answered)}
        else:
            files = {"answers.parquet": parquet_bytes(answered)}
        for name, data in files.items():
            write_durably(out / name, data)
    except OSError as error:
        raise InputError(out, f"cannot be written to ({error.strerror})") from error
    told = sum(len(reviews[row["candidate"]]) for row in rows)
    return ExportReport(candidates=len(rows), answers=told, files=list(files))


def import_answers(workspace: Workspace, path: Path) -> ImportReport:
    """Enter a tool's answers into the ledger, and what was refused into its rejects.

    Raises:
        InputError: When the file is none of ours to read.
    """
    ledger = workspace.ledger()
    kind = _kind(path)
    outcomes = list(read_annotations(path) if kind == "label-studio" else read_answer_table(path))
    told = [each for each in outcomes if isinstance(each, Review)]
    before = {each.event: each for each in ledger.reviews([review.candidate for review in told])}
    known = set(items_of(workspace, ledger.shards(stage="candidates")))
    added, rejects = _sorted_out(kind, told, known, before)
    rejects += [each for each in outcomes if isinstance(each, Reject)]
    asked = {item.candidate: each.name for each in ledger.batches() for item in ledger.batch_items(each.name)}
    ledger.record_reviews([each.model_copy(update={"batch": asked.get(each.candidate)}) for each in added])
    ledger.record_rejects(rejects)
    unanswered = sum(each is None for each in outcomes)
    return ImportReport(
        added=len(added),
        known=len(outcomes) - unanswered - len(added) - len(rejects),
        unanswered=unanswered,
        refused=dict(Counter(each.reason.value for each in rejects)),
    )


def _sorted_out(
    source: str, told: Iterable[Review], known: set[str], before: dict[str, Review]
) -> tuple[list[Review], list[Reject]]:
    """The reviews that are new, and those that are refused; the ledger has the rest."""
    added: list[Review] = []
    rejects: list[Reject] = []
    for review in told:
        earlier = before.setdefault(review.event, review)
        if review.candidate not in known:
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
        raise InputError(path, "is no .json of Label Studio, no .csv and no .parquet")
    return kind


def _samples(
    workspace: Workspace, refs: Sequence[ShardRef], keys: set[str] | None
) -> Iterator[EncodedSample]:
    wanted = set(items_of(workspace, refs, "train")) if keys is None else keys
    with ShardReader(workspace, refs) as reader:
        for position, key in enumerate(reader.keys):
            if key in wanted:
                yield reader[position]


def _written(out: Path, sample: EncodedSample) -> dict[str, str]:
    """A candidate's columns, its images written as they lie in the shard."""
    candidate = decode_candidate(sample)
    row = {"candidate": candidate.key, "class_name": candidate.class_name, "variant": candidate.variant}
    for member, data in sample.members.items():
        if member != "json":
            name = f"images/{sample.key}.{member}"
            (out / name).write_bytes(data)
            row[member.partition(".")[0]] = name
    return row
