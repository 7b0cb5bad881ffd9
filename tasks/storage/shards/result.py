"""Write the result of one piece of work exactly once: kept samples, rejects and images of some rejects.

Sources that refuse many samples need this. An empty shard would have the same name as any other empty shard,
and people want to see what was refused.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from pydantic import BaseModel, ConfigDict

from data_specs.reject import RefusedSample, Reject
from data_specs.shard import EncodedSample, ShardRef, Stage
from data_specs.work import ShardWork, beside
from tasks.storage.shards import encode_refused, write_shard
from tasks.storage.shards.writer import files_present
from tasks.storage.workspace import Workspace

_SHOWN_EACH = 3
"""Number of refused samples of one reason whose images a shard's work keeps."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A sample that was kept."""

    sample: EncodedSample
    tally: Mapping[str, str] = field(default_factory=dict)
    """What is counted: a heading, and the value that this sample has under it."""


class ShardResult(BaseModel):
    """The result of one shard's work."""

    model_config = ConfigDict(frozen=True)

    shard: ShardRef | None
    """None if everything was refused."""
    refused: ShardRef | None
    """A few refused samples of each reason, with their images."""
    rejects: dict[str, int]
    """Number of rejects by reason."""
    tallies: dict[str, dict[str, int]]
    """Number of kept samples by heading and value."""


def write_with_rejects(
    workspace: Workspace, work: ShardWork, stage: Stage, outcomes: Iterable[Kept | RefusedSample | Reject]
) -> ShardResult:
    """Write the shard of kept samples, the rejects, and some of their images. Nothing is done twice.

    Args:
        workspace: The workspace to write to.
        work: Names the work. The same work gives the same result.
        stage: The stage of the kept samples.
        outcomes: In order. A generator; it runs only if the work is not finished.
    """
    ledger = workspace.ledger()
    recorded = ledger.results.get("shard", work.digest, ShardResult)
    if recorded is not None and all(
        ref is None or files_present(workspace, ref) for ref in (recorded.shard, recorded.refused)
    ):
        return recorded
    sorting = _Sorting(outcomes)
    shard = write_unless_empty(workspace, work, stage, sorting.kept(), sorting.rejects)
    refused = sorting.shown(work.digest)
    result = ShardResult(
        shard=shard,
        refused=_write_refused(workspace, work, refused) if refused else None,
        rejects=dict(Counter(reject.reason.value for reject in sorting.rejects)),
        tallies={heading: dict(counts) for heading, counts in sorting.tallies.items()},
    )
    ledger.results.record("shard", work.digest, result)
    return result


def write_unless_empty(
    workspace: Workspace,
    work: ShardWork,
    stage: Stage,
    samples: Iterator[EncodedSample],
    rejects: Sequence[Reject],
) -> ShardRef | None:
    """Write the samples' shard with the collected rejects. Without samples, write only the rejects.

    It reads all of ``samples`` before it returns, so the collected rejects are complete.
    """
    first = next(samples, None)
    if first is None:
        # Empty shards of different works would have the same name. Rejects need no shard.
        workspace.ledger().rejects.record(rejects)
        return None
    ref = write_shard(
        workspace,
        stage=stage,
        round=work.round,
        index=work.index,
        input_digest=work.digest,
        samples=chain([first], samples),
        rejects=rejects,
    )
    # A shard that an earlier run wrote just before it was killed is not written again. The generator still
    # runs: some values are known only at its end.
    deque(samples, maxlen=0)
    return ref


class _Sorting:
    """Passes kept samples on, and collects what is refused."""

    def __init__(self, outcomes: Iterable[Kept | RefusedSample | Reject]) -> None:
        self._found = outcomes
        self._refused: list[RefusedSample] = []
        self.rejects: list[Reject] = []
        self.tallies: dict[str, Counter[str]] = {}

    def kept(self) -> Iterator[EncodedSample]:
        for outcome in self._found:
            if isinstance(outcome, Kept):
                for heading, value in outcome.tally.items():
                    self.tallies.setdefault(heading, Counter())[value] += 1
                yield outcome.sample
            elif isinstance(outcome, RefusedSample):
                self.rejects.append(outcome.reject)
                self._refused.append(outcome)
            else:
                self.rejects.append(outcome)

    def shown(self, work: str) -> list[EncodedSample]:
        """The first few samples of each reason, without duplicates."""
        seen: Counter[str] = Counter()
        chosen: dict[str, EncodedSample] = {}
        for refusal in self._refused:
            seen[refusal.reject.reason] += 1
            if seen[refusal.reject.reason] <= _SHOWN_EACH:
                sample = encode_refused(refusal, work)
                chosen[sample.key] = sample
        return list(chosen.values())


def _write_refused(workspace: Workspace, work: ShardWork, samples: Sequence[EncodedSample]) -> ShardRef:
    return write_shard(
        workspace,
        stage="refused",
        round=work.round,
        index=work.index,
        input_digest=beside(work.digest, "refused"),
        samples=samples,
    )
