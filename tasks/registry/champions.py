"""Promote, roll back and compare models. Events are added; nothing is rewritten."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_specs.errors import LedgerError
from data_specs.keys import derive_key
from data_specs.model_record import (
    ComparedValue,
    ModelComparison,
    ModelKind,
    ModelMeasurement,
    ModelRecord,
    ModelStanding,
    Promotion,
)
from tasks.registry.store import check_weights, weights_fault
from tasks.storage.dataset.versions import diff_versions
from tasks.storage.workspace import Workspace

TRAINING = "its training"
"""What the numbers in a model's own card are measured on."""


def standing_of(workspace: Workspace, start: str) -> ModelStanding:
    """Everything known about the model whose hash starts with ``start``. Its weights are read.

    Raises:
        LedgerError: If there is no such model, or more than one.
    """
    ledger = workspace.ledger()
    record = ledger.models.named(start)
    champion = ledger.models.champion(record.kind)
    return ModelStanding(
        record=record,
        champion=champion is not None and champion.hash == record.hash,
        measurements=ledger.models.measurements(record.hash),
        promotions=[
            promotion for promotion in ledger.models.promotions(record.kind) if promotion.hash == record.hash
        ],
        fault=weights_fault(workspace.fetched(record.path), record),
    )


def promote(workspace: Workspace, kind: ModelKind, hash: str, reason: str) -> None:
    """Make a model the champion, as flows do. A repeated call is one event, whatever came between.

    Raises:
        LedgerError: If the model is unknown or of another kind.
        ModelError: If its weights are missing or differ from the recorded ones.
    """
    ledger = workspace.ledger()
    record = ledger.models.of_hash(hash)
    check_weights(workspace.fetched(record.path), record)
    ledger.models.promote(kind, hash, reason)


def promote_now(workspace: Workspace, start: str, reason: str) -> ModelRecord:
    """Make a model the champion, as people ask for it. It leads afterwards, even if it was replaced before.

    Returns:
        The model. If it is the champion already, nothing is added.

    Raises:
        LedgerError: If there is no such model, or more than one.
        ModelError: If its weights are missing or differ from the recorded ones.
    """
    ledger = workspace.ledger()
    record = ledger.models.named(start)
    check_weights(workspace.fetched(record.path), record)
    events = ledger.models.promotions(record.kind)
    if not events or events[-1].hash != record.hash:
        after = events[-1].event if events else ""
        event = derive_key("promotion by hand", record.kind, record.hash, reason, after)
        ledger.models.promote(record.kind, record.hash, reason, event=event)
    return record


def rollback(workspace: Workspace, kind: ModelKind, reason: str, start: str | None = None) -> ModelRecord:
    """Make a former champion lead again: the previous one, or the named one.

    The same reason twice in a row is one rollback. To go back further, give another reason.

    Returns:
        The champion.

    Raises:
        LedgerError: If there is no former champion, or the named model never was one.
        ModelError: If its weights are missing or differ from the recorded ones.
    """
    ledger = workspace.ledger()
    events = ledger.models.promotions(kind)
    line = line_of_champions(events)
    if not line:
        raise LedgerError(
            f"no model of kind {kind} is champion, so there is nothing to roll back; promote one with "
            "`cleanplate model promote`"
        )
    wanted = None if start is None else ledger.models.named(start).hash
    again = events[-1].action == "rolled back" and events[-1].reason == reason
    if wanted == line[-1] or (wanted is None and again):
        return ledger.models.of_hash(line[-1])
    if wanted is None and len(line) == 1:
        raise LedgerError(f"there was no champion before model {line[0]}; promote another model by its hash")
    if wanted is not None and wanted not in line:
        raise LedgerError(f"model {wanted} was never champion; `cleanplate model promote` makes it champion")
    record = ledger.models.of_hash(wanted or line[-2])
    check_weights(workspace.fetched(record.path), record)
    event = derive_key("rollback", kind, record.hash, reason, events[-1].event)
    ledger.models.promote(kind, record.hash, reason, event=event, action="rolled back")
    return record


def line_of_champions(events: Sequence[Promotion]) -> list[str]:
    """The champions that lead to the present one, oldest first, the present one last.

    A rollback removes every champion after the one it names. Two rollbacks therefore go back two steps, and
    not back and forth.
    """
    line: list[str] = []
    for event in events:
        if event.action == "rolled back" and event.hash in line:
            last = len(line) - 1 - line[::-1].index(event.hash)
            line = line[: last + 1]
        elif not line or line[-1] != event.hash:
            line.append(event.hash)
    return line


def compare(workspace: Workspace, first: str, second: str) -> ModelComparison:
    """Compare two models' numbers, dataset versions and settings.

    Raises:
        LedgerError: If either model is unknown, or a dataset version's file is missing or altered.
    """
    ledger = workspace.ledger()
    one, other = ledger.models.named(first), ledger.models.named(second)
    added = removed = None
    if one.dataset_version is not None and other.dataset_version is not None:
        difference = diff_versions(workspace, one.dataset_version, other.dataset_version)
        added, removed = len(difference.added), len(difference.removed)
    return ModelComparison(
        first=one,
        second=other,
        values=compared_values(
            numbers_of(one, ledger.models.measurements(one.hash)),
            numbers_of(other, ledger.models.measurements(other.hash)),
        ),
        settings=different_settings(one.settings, other.settings),
        samples_added=added,
        samples_removed=removed,
    )


def numbers_of(record: ModelRecord, measurements: Sequence[ModelMeasurement]) -> dict[tuple[str, str], float]:
    """The number by (what it was measured on, its name). If it was measured twice, the newest."""
    numbers = {(TRAINING, name): value for name, value in record.metrics.items()}
    for measurement in measurements:
        numbers |= {(measurement.measured_on, name): value for name, value in measurement.values.items()}
    return numbers


def compared_values(
    first: Mapping[tuple[str, str], float], second: Mapping[tuple[str, str], float]
) -> list[ComparedValue]:
    """Every number that either model has, in the first one's order."""
    return [
        ComparedValue(
            measured_on=where, name=name, first=first.get((where, name)), second=second.get((where, name))
        )
        for where, name in dict.fromkeys([*first, *second])
    ]


def different_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings whose values differ, by dotted name."""
    one, other = dict(_flat(first)), dict(_flat(second))
    return {
        name: (one.get(name), other.get(name))
        for name in dict.fromkeys([*one, *other])
        if one.get(name) != other.get(name)
    }


def _flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in settings.items():
        leaves += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]
    return leaves
