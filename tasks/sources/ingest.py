"""Ingest files: triplet folders, meta.json and pools become shards of a given size, with their rejects."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from data_specs.shard import EncodedSample, ShardRef, Stage
from data_specs.work import CODE_VERSION, ShardWork
from tasks.execution.shard_task import shard_task
from tasks.sources.image_files import RejectedImage
from tasks.sources.outcomes import Outcome, in_scene, outcomes_of
from tasks.sources.pool_items import PoolLimits, PoolRecord, refusal_of
from tasks.sources.read_ahead import current_read_ahead
from tasks.sources.readers import FileSource, HighResolutionSource, name_of_kind, record_table, stage_of
from tasks.sources.scenes import Chosen, SceneChoice, Scenes, by_pixels, scenes_alone
from tasks.storage.shards.result import write_unless_empty
from tasks.storage.shards.writer import files_present
from tasks.storage.workspace import Workspace

_AT_ONCE = 64
"""Number of samples that the ledger is asked about with one query. They are in memory meanwhile."""
_REJECTS_AT_ONCE = 4_096
"""Number of rejects in a row after which they are recorded. A capped class may refuse a million rows."""


class Cursor(BaseModel):
    """How far a source has been read."""

    model_config = ConfigDict(frozen=True)

    records: int = Field(default=0, ge=0)
    """Number of stems, records or rows that are done, samples and rejects together."""
    classes: dict[str, int] = {}
    """Number of pool items taken from each class, for the cap."""


class IngestWork(ShardWork):
    """One shard of a source's files: the next ``shard_samples`` samples after ``start``."""

    source: FileSource
    files_digest: str
    shard_samples: int = Field(ge=1)
    start: Cursor = Cursor()

    @property
    def digest(self) -> str:
        """The name of the work. It follows from the folder's content, not from its location."""
        stated = self.model_dump_json(exclude={"source": {"path", "images", "objects"}})
        return derive_key(type(self).__name__, CODE_VERSION, stated, self.source.path.name)


class Intake(BaseModel):
    """The result of one shard's work."""

    model_config = ConfigDict(frozen=True)

    shard: ShardRef | None
    """None if everything was refused."""
    rejects: dict[str, int]
    """Number of rejects by reason."""
    end: Cursor
    finished: bool
    """Whether the source has no more files."""


def ingest_files(workspace: Workspace, work: IngestWork) -> Intake:
    """Take up to ``shard_samples`` samples and write their shard and their rejects.

    The images are read here, unless workers read them ahead (``read_ahead.py``). The shard is the same.

    Raises:
        InputError: If the source cannot be read at all.
    """
    ledger = workspace.ledger()
    recorded = ledger.results.get("ingest", work.digest, Intake)
    if recorded is not None and (recorded.shard is None or files_present(workspace, recorded.shard)):
        return recorded
    with scenes_alone(workspace):
        taking = _Taking(workspace, work)
        intake = taking.intake(
            write_unless_empty(workspace, work, taking.stage, taking.samples(), taking.rejects)
        )
    ledger.results.record("ingest", work.digest, intake)
    return intake


class _Taking:
    """One pass through the source for one shard, in the records' order.

    Here scenes are chosen, duplicates and full classes are refused, and progress is counted.
    """

    def __init__(self, workspace: Workspace, work: IngestWork) -> None:
        self.stage: Stage = stage_of(work.source)
        self.rejects: list[Reject] = []
        """Those that are not recorded yet."""
        self._workspace = workspace
        self._work = work
        self._ledger = workspace.ledger()
        self._scenes = Scenes(self._ledger)
        self._records = work.start.records
        self._classes = Counter(work.start.classes)
        self._reasons: Counter[str] = Counter()
        self._taken: set[str] = set()
        self._holders: dict[str, str] = {}
        self._finished = False

    def samples(self) -> Iterator[EncodedSample]:
        """The samples of the shard. Rejects are collected beside them."""
        outcomes = self._outcomes()
        while len(self._taken) < self._work.shard_samples:
            some = list(_some(outcomes, self._work.shard_samples - len(self._taken)))
            if not some:
                self._finished = True
                break
            yield from self._samples_of(some)
            if len(self.rejects) >= _REJECTS_AT_ONCE:
                self._ledger.rejects.record(self.rejects)
                self.rejects.clear()
        self._scenes.record()

    def intake(self, shard: ShardRef | None) -> Intake:
        """The result, once ``samples`` is exhausted."""
        return Intake(
            shard=shard,
            rejects=dict(self._reasons),
            end=Cursor(records=self._records, classes=dict(self._classes)),
            finished=self._finished,
        )

    def _outcomes(self) -> Iterator[Outcome]:
        """Of the records after the start, read here or by workers."""
        work, first = self._work, self._work.start.records
        table = record_table(self._workspace, work.source, work.files_digest)
        ahead = current_read_ahead()
        if ahead is not None:
            return ahead.outcomes(table, first, self._classes)
        return outcomes_of(work.source, table.read(first), self._classes, work.image_format)

    def _samples_of(self, some: Sequence[Outcome]) -> Iterator[EncodedSample]:
        self._look_up(some)
        for outcome in some:
            sample = self._settled(outcome)
            self._records += 1
            if isinstance(sample, Reject):
                self.rejects.append(sample)
                self._reasons[sample.reason.value] += 1
                continue
            self._taken.add(sample.key)
            yield sample
            if len(self._taken) == self._work.shard_samples:
                return  # Records whose class seemed full may have given samples, too.

    def _look_up(self, some: Sequence[Outcome]) -> None:
        """Ask the ledger about some outcomes, with one query of each kind for all."""
        self._scenes.look_up([outcome.facts for outcome in some if outcome.facts])
        self._holders = self._held_elsewhere([outcome.sample.key for outcome in some if outcome.sample])

    def _settled(self, outcome: Outcome) -> EncodedSample | Reject:
        """The sample with its scene, or why there is none, given all records before this one."""
        source, record = self._work.source, outcome.record
        if isinstance(source, PoolLimits) and isinstance(record, PoolRecord):
            # When it was read, fewer items of its class were taken, or more seemed to be.
            refused = refusal_of(source.kind, record, source, self._classes[record.class_name])
            if refused is not None:
                return refused
            if outcome.is_skipped:
                outcome = self._read_now(outcome, by_pixels)
        scene, split = "", None
        if outcome.facts is not None:
            try:
                scene, split = self._scenes.choose(outcome.facts)
            except RejectedImage as error:
                return error.as_reject(name_of_kind(source), record.name)
            if isinstance(source, HighResolutionSource) and split != outcome.facts.first_split:
                # Its object is of another split: one of the right split is pasted.
                outcome = self._read_now(outcome, Chosen(scene, split))
        if outcome.sample is None or split is None:
            assert outcome.reject is not None, "a record gives a sample or a reject"
            return outcome.reject
        if isinstance(record, PoolRecord):
            self._classes[record.class_name] += 1
        sample = in_scene(outcome.sample, scene, split)
        holder = "this shard" if sample.key in self._taken else self._holders.get(sample.key)
        return sample if holder is None else _duplicate(sample, holder)

    def _read_now(self, outcome: Outcome, scenes: SceneChoice) -> Outcome:
        """Read a record again, or one that was skipped, and ask the ledger about it."""
        work = self._work
        (read,) = outcomes_of(work.source, [outcome.record], {}, work.image_format, scenes)
        if read.facts is not None:
            self._scenes.look_up([read.facts], more=True)
        if read.sample is not None:
            self._holders |= self._held_elsewhere([read.sample.key])
        return read

    def _held_elsewhere(self, keys: Sequence[str]) -> dict[str, str]:
        """By sample, the shard of another work that holds it."""
        return self._ledger.shards.other_holders(keys, self.stage, besides=self._work.digest)


def _some(outcomes: Iterator[Outcome], limit: int) -> Iterator[Outcome]:
    """The next outcomes: at most ``limit`` samples, and not too many at once."""
    samples = 0
    for number, outcome in enumerate(outcomes, start=1):
        yield outcome
        samples += outcome.sample is not None
        if samples == min(limit, _AT_ONCE) or number == _REJECTS_AT_ONCE:
            return


def _duplicate(sample: EncodedSample, holder: str) -> Reject:
    source, _, name = json.loads(sample.members["json"])["origin"].partition(":")
    detail = f"sample {sample.key} of {holder} has the same pixels"
    return Reject(source=source, name=name, reason=RejectReason.DUPLICATE, detail=detail)


ingest_shard = shard_task(ingest_files, "ingest", "{work.source.kind} {work.index}")
