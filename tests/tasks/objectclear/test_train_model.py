"""ObjectClear's training from shards: M_fg derived, resumed after a kill to the bit; and its measurement."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flows.objectclear.train_model import render_pairs
from models.objectclear.network import ObjectClearNetwork, build_tiny_image_encoder, build_tiny_object_clear
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig
from models.training.losses.object_clear import ObjectClearLossConfig
from tasks.objectclear.train_model import (
    PlainObjectClear,
    attention_iou,
    foreground_batch,
    foreground_pair,
    train_object_clear,
)
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample, synthetic_triplets
from tasks.storage.workspace import Workspace

CONFIG = TrainingConfig(steps=4, batch_size=3, warmup_steps=1, checkpoint_every=2)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def network() -> ObjectClearNetwork:
    return build_tiny_object_clear(network_at(BASE_FOLDER), build_tiny_image_encoder(0), 0)


def test_a_killed_training_ends_as_an_unbroken_one(tmp_path) -> None:
    space = Workspace.open(tmp_path / "space")
    shards = render_pairs(space, 7)
    assert render_pairs(space, 7) == shards, "filmed once"
    unbroken, broken, loss = network(), network(), ObjectClearLossConfig()
    expected = train_object_clear(space, shards, unbroken, CONFIG, loss)
    checkpoint = tmp_path / "checkpoint.safetensors"

    def kill(done: int, *_: object) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        train_object_clear(space, shards, broken, CONFIG, loss, checkpoint, kill)
    resumed, told = network(), []
    losses = train_object_clear(
        space, shards, resumed, CONFIG, loss, checkpoint, lambda done, *_: told.append(done)
    )
    assert told == [3, 4]
    assert losses == expected
    assert resumed.fingerprint() == unbroken.fingerprint() != network().fingerprint()


def test_the_foreground_is_the_object_and_its_effect() -> None:
    """Against the ray caster's own truth: mask ∪ effect."""
    shots = [make_sample(SyntheticConfig(seed=5), number) for number in range(8)]
    triplets = list(synthetic_triplets(SyntheticConfig(seed=5), range(8)))
    for shot, triplet in zip(shots, triplets, strict=True):
        found = foreground_pair(triplet).foreground
        partly = (shot.matte > 0) & ~shot.mask
        assert np.array_equal(found & ~partly, (shot.mask | shot.effect) & ~partly)
    assert sum(bool(shot.effect.any()) for shot in shots) >= 4


def test_augmentation_follows_from_the_steps_draws() -> None:
    triplets = list(synthetic_triplets(SyntheticConfig(seed=5), range(3)))
    first, again, other = (
        foreground_batch(triplets, BatchSlice(torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    )
    assert first.source.shape == (3, 3, 64, 64)
    assert torch.equal(first.source, again.source)
    assert torch.equal(first.foreground, again.foreground)
    assert not torch.equal(first.source, other.source)


def test_the_iou_is_that_of_the_attended_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that is M_fg has IoU 1; one that is its complement, 0; M_fg and as much again, about half."""
    (triplet,) = synthetic_triplets(SyntheticConfig(seed=5), range(1))
    mask = np.zeros((64, 64), bool)
    mask[16:32, 16:32] = True
    square = replace(triplet, mask=mask, ground_truth=triplet.source)
    inside = torch.zeros(1, 1, 16, 16)
    inside[..., 3:9, 3:9] = 1  # antialiasing gives the neighbours an eighth
    inside[..., [3, 3, 8, 8], [3, 8, 3, 8]] = 0  # and the corners a sixty-fourth
    doubled = inside.clone()
    doubled[..., 10:12, :] = 1
    for attended, expected in ((inside, 1.0), (1 - inside, 0.0), (doubled, 0.5)):
        monkeypatch.setattr(PlainObjectClear, "attention", lambda *_, found=attended: found)
        assert attention_iou(PlainObjectClear(network()), [square]) == pytest.approx(expected)


def test_the_same_noise_gives_the_same_removal_in_any_batch() -> None:
    triplets = list(synthetic_triplets(SyntheticConfig(seed=5), range(3)))
    remover = PlainObjectClear(network(), steps=2)
    sources, masks = [t.source for t in triplets], [t.mask for t in triplets]
    together = remover.remove(sources, masks, [1, 2, 3])
    alone = remover.remove(sources[2:], masks[2:], [3])
    np.testing.assert_allclose(together[2], alone[0], atol=1.01, rtol=0)
    maps = remover.attention(sources, masks, [1, 2, 3])
    assert maps.shape == (3, 1, 16, 16)
    assert torch.equal(maps.amin((1, 2, 3)), torch.zeros(3))
    assert torch.equal(maps.amax((1, 2, 3)), torch.ones(3))


def test_a_training_on_sloppy_masks_sees_other_masks_of_the_same_images(tmp_path) -> None:
    triplets = list(synthetic_triplets(SyntheticConfig(seed=5), range(3)))
    plain, sloppy = (
        foreground_batch(triplets, BatchSlice(torch.Generator().manual_seed(1)), sloppy=on)
        for on in (False, True)
    )
    assert torch.equal(plain.source, sloppy.source)
    assert not torch.equal(plain.mask, sloppy.mask)
    space = Workspace.open(tmp_path / "space")
    shards = render_pairs(space, 5)
    trained = []
    for on in (False, True):
        trained.append(network())
        loss = ObjectClearLossConfig(sloppy_masks=on)
        train_object_clear(space, shards, trained[-1], CONFIG.model_copy(update={"steps": 1}), loss)
    assert trained[0].fingerprint() != trained[1].fingerprint()


def test_records_from_before_sloppy_masks_keep_their_keys() -> None:
    assert "sloppy_masks" not in ObjectClearLossConfig().model_dump_json()
    assert '"sloppy_masks":true' in ObjectClearLossConfig(sloppy_masks=True).model_dump_json()
