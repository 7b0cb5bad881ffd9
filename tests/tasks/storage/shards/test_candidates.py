"""Candidates store their item's source once. tarfile, tar and older shards are the measure."""

import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_specs.candidate import Candidate
from data_specs.errors import ShardError
from data_specs.shard import EncodedSample, ImageFormat, ShardRef
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import (
    ShardReader,
    as_grown,
    decode_candidate,
    decode_candidates,
    decode_triplet,
    encode_candidate,
    encode_triplet,
    source_members,
    write_shard,
)
from tasks.storage.workspace import Workspace

VARIANTS = ("tight", "dilated", "left")


def candidates(count: int = 3, size: int = 96) -> Iterator[Candidate]:
    """Candidates of noise, which no codec can make small."""
    noise = np.random.default_rng(4)
    for number in range(count):
        source = noise.integers(0, 256, (size, size, 3)).astype(np.uint8)
        for variant in VARIANTS:
            yield Candidate(
                key=f"{number}-{variant}",
                item=f"item-{number}",
                scene=f"scene-{number}",
                split="train",
                class_name="disc",
                variant=variant,
                model_hash="m",
                source_hash="s",
                source=source,
                mask=np.pad(np.ones((9, 9), bool), (0, size - 9)),
                removal=noise.integers(0, 256, (size, size, 3)).astype(np.uint8),
            )


def write(workspace: Workspace, samples: list[EncodedSample], work: str = "work") -> ShardRef:
    return write_shard(
        workspace,
        stage="candidates",
        round=1,
        index=0,
        input_digest=work,
        samples=iter(samples),
        purpose="human",
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def test_an_items_source_is_stored_once_and_every_candidate_has_it(workspace: Workspace) -> None:
    samples = [encode_candidate(candidate, "png") for candidate in candidates()]
    ref = write(workspace, samples)
    apart = sum(len(data) for sample in samples for data in sample.members.values())
    sources = {sample.item: len(sample.members["source.png"]) for sample in samples}
    assert (
        ref.size_bytes
        < apart - (len(VARIANTS) - 1) * sum(sources.values()) + 1024 * len(samples) * 4 + 10_240
    )
    with ShardReader(workspace, [ref], check=True) as reader:
        assert [reader[position] for position in range(len(reader))] == samples
    assert verify_dataset(workspace).clean


def test_tarfile_and_tar_give_every_candidate_all_of_its_members(
    workspace: Workspace, tmp_path: Path
) -> None:
    samples = [encode_candidate(candidate, "jpeg") for candidate in candidates()]
    path = workspace.shards_dir / f"{write(workspace, samples).name}.tar"
    with tarfile.open(path) as tar:
        for sample in samples:
            for name, data in sample.members.items():
                member = tar.extractfile(f"{sample.key}.{name}")
                assert member is not None
                assert member.read() == data
        assert {member.type for member in tar} == {tarfile.REGTYPE, tarfile.LNKTYPE}
    subprocess.run(["tar", "xf", path, "-C", tmp_path], check=True)
    for sample in samples:
        for name, data in sample.members.items():
            assert (tmp_path / f"{sample.key}.{name}").read_bytes() == data


def test_other_stages_and_older_shards_store_every_member(workspace: Workspace) -> None:
    """What a reader made has no item: it is written as every shard was before."""
    samples = [replace(encode_candidate(candidate, "png"), item=None) for candidate in candidates()]
    path = workspace.shards_dir / f"{write(workspace, samples).name}.tar"
    with tarfile.open(path) as tar:
        assert {member.type for member in tar} == {tarfile.REGTYPE}
        held = {member.name: member.size for member in tar}
    assert held == {f"{s.key}.{name}": len(data) for s in samples for name, data in s.members.items()}
    assert verify_dataset(workspace).clean
    shown = [decode_candidate(sample) for sample in samples]
    assert all(np.array_equal(a.source, b.source) for a, b in zip(shown, candidates(), strict=True))


def test_two_items_with_the_same_source_each_store_it(workspace: Workspace) -> None:
    one = next(candidates(1))
    samples = [encode_candidate(replace(one, key=key, item=key), "png") for key in ("a", "b")]
    path = workspace.shards_dir / f"{write(workspace, samples).name}.tar"
    with tarfile.open(path) as tar:
        assert {member.type for member in tar} == {tarfile.REGTYPE}


def test_neighbours_share_decoded_arrays_and_pixels_are_the_same() -> None:
    samples = [encode_candidate(candidate, "png") for candidate in candidates()]
    shown = list(decode_candidates(samples))
    for candidate, sample in zip(shown, samples, strict=True):
        alone = decode_candidate(sample)
        for name in ("source", "mask", "removal"):
            assert np.array_equal(getattr(candidate, name), getattr(alone, name))
        assert (candidate.key, candidate.item) == (alone.key, alone.item)
    assert len({id(candidate.source) for candidate in shown}) == 3
    assert len({id(candidate.removal) for candidate in shown}) == len(shown)


@pytest.mark.parametrize(("stored", "wanted"), [("png", "png"), ("jpeg", "jpeg"), ("png", "jpeg")])
def test_a_source_is_copied_or_put_into_the_candidates_format(
    stored: ImageFormat, wanted: ImageFormat
) -> None:
    candidate = next(candidates(1))
    pool = encode_candidate(candidate, stored)
    members = source_members(pool, wanted)
    sample = encode_candidate(candidate, wanted, members)
    assert sample == encode_candidate(candidate, wanted), "as if everything was encoded"
    if stored == wanted:
        assert all(members[name] is pool.members[name] for name in members)


def test_a_grown_sample_has_the_candidates_bytes() -> None:
    candidate = next(candidates(1))
    sample = encode_candidate(candidate, "jpeg")
    grown = as_grown(sample, "grown", "candidate:x")
    triplet = decode_triplet(grown)
    assert grown.members["source.jpg"] is sample.members["source.jpg"]
    assert grown.members["ground_truth.jpg"] is sample.members["removal.jpg"]
    assert (triplet.key, triplet.origin, triplet.scene, triplet.split) == (
        "grown",
        "candidate:x",
        "scene-0",
        "train",
    )
    assert grown.item is None
    lossless = as_grown(encode_candidate(candidate, "png"), "grown", "candidate:x")
    assert lossless == encode_triplet(decode_triplet(lossless), "png"), "as growth wrote it before"
    with pytest.raises(ShardError, match="is no candidate"):
        as_grown(grown, "grown", "x")
