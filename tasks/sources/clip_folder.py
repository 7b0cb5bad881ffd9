"""Make triplets from a folder of fixed-camera clips: a shard and a scene for each clip."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from data_specs.errors import InputError
from data_specs.keys import Split, derive_key
from data_specs.reject import IgnoredReason, Reject, RejectReason
from data_specs.shard import EncodedSample
from data_specs.triplet import Triplet
from data_specs.work import CODE_VERSION, ShardWork
from tasks.execution.shard_task import shard_task
from tasks.sources.clip.clip import ClipConfig, clip_scene, clip_triplets
from tasks.sources.found_files import Found, found_below
from tasks.sources.image_files import RejectedImage, opened_file
from tasks.sources.ingest import Cursor, Intake
from tasks.sources.scenes import Scenes, TestFraction, ValidationFraction, scenes_alone
from tasks.storage.shards import encode_triplet
from tasks.storage.shards.result import write_unless_empty
from tasks.storage.shards.writer import files_present
from tasks.storage.workspace import Workspace

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
_KIND = "clip"
_AT_ONCE = 64
"""Number of triplets that the ledger is asked about with one query."""


class ClipFolderConfig(ClipConfig):
    """How a folder of fixed-camera videos becomes triplets. A whole clip is one scene and has one split."""

    path: Path = Field(description="The folder of videos, in it or below. No camera may move.")
    validation_fraction: ValidationFraction = 0.1
    test_fraction: TestFraction = 0.1


class ClipWork(ShardWork):
    """The input of one clip's shard."""

    clip: ClipConfig
    clip_sha256: str
    """SHA-256 of the video's bytes. Empty if it cannot be opened."""
    validation_fraction: float
    test_fraction: float

    @property
    def digest(self) -> str:
        """The name of the work. It follows from the clip's name and content, not from its folder."""
        stated = self.model_dump_json(exclude={"clip": {"path"}, "index": True})
        return derive_key(type(self).__name__, CODE_VERSION, stated, self.clip.path.name)


def clips_in(folder: Path) -> list[Path]:
    """The videos in the folder and below, in order. Links to folders are not followed.

    Raises:
        InputError: If there is none.
    """
    clips = sorted(
        Path(place) / name
        for place, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in VIDEO_SUFFIXES
    )
    if not clips:
        raise InputError(folder, f"holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); name another folder")
    return clips


def count_clips(config: ClipFolderConfig) -> Found:
    """Count the files that are no video. Only reading the videos tells how many triplets they give.

    Raises:
        InputError: As ``clips_in``.
    """
    clips_in(config.path)

    def reason_of(name: str) -> IgnoredReason | None:
        return None if Path(name).suffix.lower() in VIDEO_SUFFIXES else IgnoredReason.NO_VIDEO

    return found_below(None, config.path, (), reason_of)


def clip_works(config: ClipFolderConfig) -> Iterator[ClipWork]:
    """The work of each clip, in order.

    Raises:
        InputError: As ``clips_in``.
    """
    settings = {name: getattr(config, name) for name in ClipConfig.model_fields}
    for index, path in enumerate(clips_in(config.path)):
        try:
            with opened_file(path) as file:
                digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        except RejectedImage:
            digest = ""
        # One block of time: the clip's frames show one place, and stay together.
        clip = ClipConfig(**{**settings, "path": path, "scene_seconds": 3600, "gap_seconds": 0})
        yield ClipWork(
            round=0,
            index=index,
            clip=clip,
            clip_sha256=digest,
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
        )


def ingest_clip(workspace: Workspace, work: ClipWork) -> Intake:
    """Write one clip's shard and rejects. A clip that cannot be read, or gives nothing, has rejects only."""
    ledger = workspace.ledger()
    recorded = ledger.results.get("ingest", work.digest, Intake)
    if recorded is not None and (recorded.shard is None or files_present(workspace, recorded.shard)):
        return recorded
    rejects: list[Reject] = []
    with scenes_alone(workspace):
        samples = _samples(workspace, work, rejects)
        shard = write_unless_empty(workspace, work, "triplets", samples, rejects)
    counts = dict(Counter(reject.reason.value for reject in rejects))
    intake = Intake(shard=shard, rejects=counts, end=Cursor(), finished=True)
    ledger.results.record("ingest", work.digest, intake)
    return intake


def _samples(workspace: Workspace, work: ClipWork, rejects: list[Reject]) -> Iterator[EncodedSample]:
    ledger = workspace.ledger()
    scenes = Scenes(ledger)
    try:
        scene, split = _scene(work, scenes)
    except RejectedImage as error:
        rejects.append(error.as_reject(_KIND, work.clip.path.name))
        return
    taken: set[str] = set()
    results = clip_triplets(work.clip)
    while some := list(islice(results, _AT_ONCE)):
        keys = [result.key for result in some if isinstance(result, Triplet)]
        held = ledger.shards.other_holders(keys, "triplets", besides=work.digest)
        for result in some:
            if isinstance(result, Reject):
                rejects.append(result)
            elif result.key in taken or result.key in held:
                name = result.origin.removeprefix(f"{_KIND}:")
                rejects.append(Reject(source=_KIND, name=name, reason=RejectReason.DUPLICATE))
            else:
                taken.add(result.key)
                yield encode_triplet(replace(result, scene=scene, split=split), work.image_format)
    scenes.record()


def _scene(work: ClipWork, scenes: Scenes) -> tuple[str, Split]:
    """The scene of the clip's empty place. A clip that shows a known place joins its scene.

    Raises:
        RejectedImage: TWO_SPLITS if it would join scenes of two splits.
    """
    lineage = derive_key("scene", _KIND, work.clip_sha256)
    try:
        plate = clip_scene(work.clip)
    except InputError:
        plate = None
    if plate is None:  # The clip will be refused: it cannot be read, or its camera moves.
        return lineage, "train"
    return scenes(work.clip.path, plate, work, lineage)


ingest_clip_shard = shard_task(ingest_clip, "capture", "clip {work.index}")
