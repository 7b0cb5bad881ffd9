"""Make triplets from a fixed-camera clip: one shard, with its rejects."""

import hashlib
from pathlib import Path

from data_specs.errors import InputError
from data_specs.reject import Reject
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from data_specs.work import ShardWork
from tasks.execution.shard_task import shard_task
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.storage.shards import encode_triplet, finished_shard, write_shard
from tasks.storage.workspace import Workspace


class CaptureWork(ShardWork):
    """The input of one clip's shard."""

    clip: ClipConfig
    clip_sha256: str
    """SHA-256 of the video's bytes. Another video under the same name is different work."""


def capture_work(clip: ClipConfig, index: int) -> CaptureWork:
    """The work of one clip.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        digest = hashlib.sha256(Path(clip.path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            clip.path, f"cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    return CaptureWork(round=0, index=index, clip=clip, clip_sha256=digest)


def capture(workspace: Workspace, work: CaptureWork) -> ShardRef:
    """Find the empty scene, cut the triplets and write their shard. A finished shard is not made again."""
    present = finished_shard(workspace, work.digest)
    if present is not None:
        return present
    triplets: list[Triplet] = []
    rejects: list[Reject] = []
    for triplet in clip_triplets(work.clip):
        if isinstance(triplet, Reject):
            rejects.append(triplet)
        else:
            triplets.append(triplet)
    if not triplets:
        workspace.ledger().rejects.record(rejects)
        why = f"{rejects[0].reason.value}: {rejects[0].detail}" if rejects else "it has no frame"
        raise InputError(
            work.clip.path, f"this clip gives no triplet ({why}); choose another clip or other limits"
        )
    return write_shard(
        workspace,
        stage="triplets",
        round=work.round,
        index=work.index,
        input_digest=work.digest,
        samples=(encode_triplet(t, work.image_format) for t in triplets),
        rejects=rejects,
    )


capture_shard = shard_task(capture, "capture", "clip {work.index}")
