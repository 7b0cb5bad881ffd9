"""Read records into outcomes: encoded samples whose scenes are not chosen yet, and rejects.

Workers read outcomes in any order. What depends on the order comes later: scenes, duplicates and caps.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data_specs.arrays import RgbImage
from data_specs.keys import Split
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject, RejectReason
from data_specs.shard import EncodedSample, ImageFormat
from tasks.sources.pool_items import PoolLimits, PoolRecord, refusal_of
from tasks.sources.readers import FileSource, read_records
from tasks.sources.record_table import SourceRecord
from tasks.sources.scenes import (
    THUMBNAIL_SHAPE,
    Look,
    SceneChoice,
    SceneFacts,
    SplitFractions,
    by_pixels,
    facts_of,
)
from tasks.storage.atomic_files import aside_path
from tasks.storage.shards import encode_pool_item, encode_triplet


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one record gave."""

    record: SourceRecord | Reject
    facts: SceneFacts | None
    """What decides its scene. None if its image was not read."""
    sample: EncodedSample | None
    """With the scene and split that it has if no other image is near."""
    reject: Reject | None
    """Why there is no sample."""

    @property
    def is_skipped(self) -> bool:
        """Whether it was not opened because its class seemed full."""
        return self.reject is not None and self.reject.reason is RejectReason.CLASS_FULL


def outcomes_of(
    source: FileSource,
    records: Iterable[SourceRecord | Reject],
    taken: Mapping[str, int],
    image_format: ImageFormat,
    scenes: SceneChoice = by_pixels,
) -> Iterator[Outcome]:
    """One outcome for each record, in their order.

    Args:
        source: Where the records come from.
        records: Some of the source's.
        taken: Number of earlier pool items of each class.
        image_format: The format of the samples' images.
        scenes: Chooses the scene that a sample is encoded with.
    """
    own, passed = tee(records)
    noted = _Noted(scenes)
    for record, sample in zip(passed, read_records(source, own, taken, noted), strict=True):
        facts = noted.take()
        if isinstance(sample, Reject):
            yield Outcome(record, facts, None, sample)
        elif isinstance(sample, PoolItem):
            yield Outcome(record, facts, encode_pool_item(sample, image_format), None)
        else:
            yield Outcome(record, facts, encode_triplet(sample, image_format), None)


def unopened_outcome(source: FileSource, record: SourceRecord | Reject) -> Outcome:
    """The outcome of a record that is not opened: a broken one, or one of an excluded or full class."""
    if isinstance(record, Reject):
        return Outcome(record, None, None, record)
    assert isinstance(source, PoolLimits), "the table opens all records of triplets"
    assert isinstance(record, PoolRecord), "a pool has no others"
    return Outcome(record, None, None, refusal_of(source.kind, record, source, source.class_cap))


class _Noted:
    """A `SceneChoice` that notes what decides the scene."""

    def __init__(self, scenes: SceneChoice) -> None:
        self._scenes = scenes
        self._last: SceneFacts | None = None

    def __call__(
        self, path: Path, image: RgbImage, fractions: SplitFractions, lineage: str | None
    ) -> tuple[str, Split]:
        self._last = facts_of(path, image, fractions, lineage)
        return self._scenes(path, image, fractions, lineage)

    def take(self) -> SceneFacts | None:
        last, self._last = self._last, None
        return last


def in_scene(sample: EncodedSample, scene: str, split: Split) -> EncodedSample:
    """The sample with this scene and split, as if it had been encoded with them."""
    if (sample.scene, sample.split) == (scene, split):
        return sample
    facts = {**json.loads(sample.members["json"]), "scene": scene, "split": split}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return replace(sample, members={**sample.members, "json": text}, scene=scene, split=split)


# The outcomes of a part of the records, in a file: a line of JSON for each, then its images' bytes.


def write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write the outcomes of some records. A process that dies meanwhile leaves no file of this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_path(path)
    try:
        with aside.open("xb") as file:
            for outcome in outcomes:
                _write(file, outcome)
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


def stored_outcomes(
    path: Path, records: Iterable[SourceRecord | Reject], skipped: int = 0
) -> Iterator[Outcome]:
    """The outcomes in a file.

    Args:
        path: The file.
        records: The records that they were read from, without the skipped ones.
        skipped: Number of outcomes at the beginning of the file to leave out.
    """
    with path.open("rb") as file:
        for _ in range(skipped):
            file.seek(sum(size for _, size in json.loads(file.readline())["members"]), os.SEEK_CUR)
        for record in records:
            yield _outcome(file, record)


def _write(file: BinaryIO, outcome: Outcome) -> None:
    sample, facts = outcome.sample, outcome.facts
    members = list(sample.members.items()) if sample else []
    stated = {
        "facts": _facts_as_json(facts) if facts else None,
        "reject": outcome.reject.model_dump(mode="json") if outcome.reject else None,
        "sample": [sample.key, sample.scene, sample.split] if sample else None,
        "members": [(name, len(data)) for name, data in members],
    }
    file.write(json.dumps(stated, separators=(",", ":")).encode() + b"\n")
    for _, data in members:
        file.write(data)


def _outcome(file: BinaryIO, record: SourceRecord | Reject) -> Outcome:
    stated = json.loads(file.readline())
    members = {name: file.read(size) for name, size in stated["members"]}
    facts, reject, sample = (stated[name] for name in ("facts", "reject", "sample"))
    return Outcome(
        record=record,
        facts=_facts_of_json(facts) if facts else None,
        sample=EncodedSample(key=sample[0], members=members, scene=sample[1], split=sample[2])
        if sample
        else None,
        reject=Reject.model_validate(reject) if reject else None,
    )


def _facts_as_json(facts: SceneFacts) -> dict[str, Any]:
    values = {name: getattr(facts, name) for name in SceneFacts.__slots__}
    for name in ("look", "mirrored"):
        look = values[name]
        values[name] = [int(look.hash), look.thumbnail.tobytes().hex()]
    return values


def _facts_of_json(values: dict[str, Any]) -> SceneFacts:
    for name in ("look", "mirrored"):
        number, thumbnail = values[name]
        pixels = np.frombuffer(bytes.fromhex(thumbnail), np.uint8).reshape(THUMBNAIL_SHAPE)
        values[name] = Look(np.uint64(number), pixels)
    return SceneFacts(**values)
