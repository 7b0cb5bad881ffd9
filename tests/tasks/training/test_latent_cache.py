"""Latents kept on the disk: what the codec gives, the same training, and never those of another codec."""

import resource
import signal
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data_specs.errors import ModelError
from models.diffusion.tiny_vae import PatchCodec
from models.objectclear.network import build_tiny_image_encoder, build_tiny_object_clear
from models.rorem.remover import SamplingConfig
from models.training import distributed
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig
from models.training.losses.object_clear import ObjectClearLossConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.objectclear.train_model import train_object_clear
from tasks.registry.store import network_at
from tasks.rorem.train_remover import RemoverTraining, train_remover
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.training.data import TripletSamples
from tasks.training.latent_cache import LatentSamples, cached_latents

CACHED = DistributedConfig(cache_latents=True)


def work_on(studio: SimpleNamespace) -> RemoverTraining:
    return RemoverTraining(
        name="cached",
        parent=studio.remover,
        version=studio.version.number,
        version_sha256=studio.version.sha256,
        training=TrainingConfig(steps=6, batch_size=4, warmup_steps=1, checkpoint_every=2),
        loss=RemoverLossConfig(change_weight=3, noisy_fraction=0.5),
        sampling=SamplingConfig(steps=2),
    )


def codec_of(studio: SimpleNamespace) -> PatchCodec:
    return network_at(studio.workspace.root / studio.remover.folder).vae


def latents_in(studio: SimpleNamespace, codec: PatchCodec) -> LatentSamples:
    with ShardReader(studio.workspace, [studio.pairs]) as reader:
        samples = TripletSamples(reader, range(len(reader)))
        return cached_latents(
            studio.workspace, samples, [(studio.pairs.sha256, key) for key in reader.keys], codec
        )


def test_the_same_curve_with_and_without(studio: SimpleNamespace) -> None:
    cached = train_remover(studio.workspace, work_on(studio), distributed=CACHED).losses.means
    files = sorted((studio.workspace.root / "latents").rglob("*.*"))
    assert len(files) == 24, "each of 12 pairs as it is and mirrored"
    times = [file.stat().st_mtime_ns for file in files]
    other = work_on(studio).model_copy(update={"version_sha256": "the same work under another name"})
    again = train_remover(studio.workspace, other, distributed=CACHED).losses.means
    assert again == cached, "to the bit"
    assert [file.stat().st_mtime_ns for file in files] == times, "nothing was encoded again"
    third = work_on(studio).model_copy(update={"version_sha256": "without"})
    plain = train_remover(studio.workspace, third).losses.means
    assert cached == pytest.approx(plain, rel=1e-5)
    assert len(set(cached)) == 6


def test_they_are_what_the_codec_gives(studio: SimpleNamespace) -> None:
    codec = codec_of(studio)
    latents = latents_in(studio, codec)
    with ShardReader(studio.workspace, [studio.pairs]) as reader:
        triplets = [decode_triplet(sample) for sample in reader]
    for place, flip in ((0, False), (3, True), (11, True)):
        triplet, found = triplets[place], latents[place, flip]
        step = -1 if flip else 1
        source, truth = (
            torch.from_numpy(image[:, ::step].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
            for image in (triplet.source, triplet.ground_truth)
        )
        inside = triplet.mask[:, ::step]
        hidden = source * torch.from_numpy(~inside)
        for name, image in (("source", source), ("masked", hidden), ("clean", truth)):
            torch.testing.assert_close(getattr(found, name), cast(Any, codec.encode(image)).latent_dist.mean)
        cells = inside.reshape(8, 4, 8, 4)
        np.testing.assert_array_equal(found.touched[0, 0], cells.any((1, 3)))
        np.testing.assert_array_equal(found.mask[0, 0], inside[::4, ::4])


def test_a_machine_with_a_disk_of_its_own_has_them_all(
    studio: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two processes, alone on its machine: the first one's part never comes here."""
    state = SimpleNamespace(
        process_index=1,
        num_processes=2,
        local_process_index=0,
        device=torch.device("cpu"),
        wait_for_everyone=lambda: None,
    )
    monkeypatch.setattr(distributed, "launched_processes", lambda: state)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    latents = latents_in(studio, codec_of(studio))
    draws = [(place, flip) for place in range(12) for flip in (False, True)]
    assert [latents.path(draw).is_file() for draw in draws] == [True] * 24


def test_another_codec_has_its_own(studio: SimpleNamespace) -> None:
    codec = codec_of(studio)
    before = latents_in(studio, codec)
    codec.analysis *= 1.5
    after = latents_in(studio, codec)
    assert before.path((0, False)).parent != after.path((0, False)).parent
    assert not torch.equal(before[0, False].clean, after[0, False].clean)
    assert latents_in(studio, codec_of(studio)).path((0, False)) == before.path((0, False))


def test_a_damaged_one_is_named(studio: SimpleNamespace) -> None:
    latents = latents_in(studio, codec_of(studio))
    file = latents.path((2, True))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(
        ModelError, match=rf"^{file}: the latents are damaged .*delete the file and start again"
    ):
        latents[2, True]
    assert latents[2, False].clean.shape == (1, 8, 8, 8)


def test_a_full_disk_is_said_and_leaves_nothing_half(studio: SimpleNamespace) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    codec = codec_of(studio)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(
            ModelError, match="latents cannot be written .*free some space, or set cache_latents to false"
        ):
            latents_in(studio, codec)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in (studio.workspace.root / "latents").rglob("*") if path.is_file()] == []
    latents = latents_in(studio, codec)
    assert set(load_file(latents.path((0, False)))) == {"source", "masked", "clean", "mask", "touched"}


def test_where_images_never_come_again_it_is_refused(studio: SimpleNamespace) -> None:
    base = network_at(studio.workspace.root / studio.remover.folder)
    network = build_tiny_object_clear(base, build_tiny_image_encoder(0), seed=0)
    with pytest.raises(ModelError, match="cache_latents cannot be used here: ObjectClear draws another cut"):
        train_object_clear(
            studio.workspace,
            [studio.pairs],
            network,
            TrainingConfig(steps=1, batch_size=2),
            ObjectClearLossConfig(),
            distributed=CACHED,
        )
