"""The morning's answers, read from the ledger: it knows what ran, whatever became of the runs themselves."""

from collections.abc import Sequence
from datetime import datetime

from data_specs.morning import Morning, NewShards, NewVersion, Prices, WorkDone
from data_specs.version import DatasetVersion
from tasks.monitoring.drift import DriftLimits, drifts
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

_ACCEPTED = ("triplets", "grown", "composites")


def look_back(
    workspace: Workspace, since: datetime, until: datetime, prices: Prices, limits: DriftLimits
) -> Morning:
    """What happened from ``since`` on and before ``until``, times with a zone."""
    ledger = workspace.ledger()
    phases = ledger.phase_results(since, until)
    shards = ledger.shard_counts(since, until)
    reviews = ledger.review_counts(since, until)
    return Morning(
        since=since,
        until=until,
        phases=phases,
        work=_work(ledger, since, until, prices),
        shards=[
            NewShards(stage=stage, shards=count.shards, samples=count.samples)
            for stage, count in shards.items()
        ],
        rejects=ledger.reject_counts(since, until),
        reviews={f"{kind} {decision}": count for (kind, decision), count in reviews.items()},
        versions=new_versions(ledger.versions(), since, until),
        drifts=drifts(ledger, phases, limits),
        accepted=sum(shards[stage].samples for stage in _ACCEPTED if stage in shards),
        currency=prices.currency,
    )


def new_versions(versions: Sequence[DatasetVersion], since: datetime, until: datetime) -> list[NewVersion]:
    """Those made in the stretch, and how much each grew."""
    sizes = {version.number: version.samples for version in versions}
    return [
        NewVersion(
            number=version.number,
            samples=version.samples,
            grown_by=version.samples - (sizes.get(version.parents[0], 0) if version.parents else 0),
            note=version.note,
        )
        for version in versions
        if since <= version.created_at < until
    ]


def _work(ledger: Ledger, since: datetime, until: datetime, prices: Prices) -> list[WorkDone]:
    return [
        WorkDone(what=what, pieces=pieces, seconds=seconds, cost=prices.cost(seconds))
        for what, (pieces, seconds) in ledger.spending_by_kind(since, until).items()
    ]
