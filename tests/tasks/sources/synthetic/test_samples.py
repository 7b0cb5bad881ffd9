"""Shots: the source, the ground truth and the truths between them agree."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from data_specs.keys import Split
from tasks.sources.synthetic.samples import (
    SyntheticConfig,
    SyntheticSample,
    as_pool_item,
    as_triplet,
    make_sample,
    synthetic_triplets,
)
from tasks.sources.synthetic.scene import World

SUNNY = SyntheticConfig(world=World(shadow_fraction=1.0, grounds="mixed"), seed=901)
OVERCAST = SyntheticConfig(world=World(shadow_fraction=0.0, grounds="mixed"), seed=902)
PASTED = SyntheticConfig(world=World(shadow_fraction=1.0, gloss_fraction=0.5), seed=903, copy_paste=True)
GLOSSY = SyntheticConfig(world=World(shadow_fraction=1.0, gloss_fraction=1.0, max_objects=5), seed=904)

DIGEST = """
import hashlib
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample
digest = hashlib.sha256()
for index in range(3):
    shot = make_sample(SyntheticConfig.model_validate_json({config!r}), index)
    for part in (shot.source, shot.ground_truth, shot.mask, shot.matte, shot.effect_alpha, shot.depth):
        digest.update(part.tobytes())
print(digest.hexdigest())
"""


def changes(shot: SyntheticSample) -> np.ndarray:
    return np.abs(shot.source.astype(int) - shot.ground_truth).max(axis=2)


def test_the_same_seed_gives_the_same_pixels_in_another_process() -> None:
    config = GLOSSY.model_copy(update={"size_px": 40})
    digest = hashlib.sha256()
    for index in range(3):
        shot = make_sample(config, index)
        for part in (shot.source, shot.ground_truth, shot.mask, shot.matte, shot.effect_alpha, shot.depth):
            digest.update(part.tobytes())
    # Other hashing, another number of threads: neither may show.
    elsewhere = subprocess.run(
        [sys.executable, "-c", DIGEST.format(config=config.model_dump_json())],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONHASHSEED": "77",
            "OMP_NUM_THREADS": "2",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert elsewhere.stdout.strip() == digest.hexdigest()


def test_splits_seeds_and_indices_never_share_a_scene() -> None:
    splits: tuple[Split, ...] = ("train", "validation", "test")
    scenes = [
        make_sample(SyntheticConfig(split=split, seed=seed, size_px=16), index).scene
        for split in splits
        for seed in (0, 1)
        for index in range(12)
    ]
    assert len(set(scenes)) == len(scenes) == 72


@pytest.mark.parametrize("index", range(6))
def test_without_sun_nothing_changes_off_the_object(index: int) -> None:
    shot = make_sample(OVERCAST, index)
    off = shot.matte == 0
    np.testing.assert_array_equal(shot.source[off], shot.ground_truth[off])
    assert not shot.effect.any()
    assert not shot.effect_alpha.any()
    assert shot.azimuth is None
    assert changes(shot)[shot.mask].mean() > 5, "the object itself goes"


@pytest.mark.parametrize("index", range(6))
def test_a_pasted_object_has_no_effect(index: int) -> None:
    shot = make_sample(PASTED, index)
    off = shot.matte == 0
    np.testing.assert_array_equal(shot.source[off], shot.ground_truth[off])
    assert not shot.effect.any()
    assert shot.azimuth is not None
    honest = make_sample(PASTED.model_copy(update={"copy_paste": False}), index)
    assert honest.effect.any(), "the same object has one when it is not pasted"
    np.testing.assert_array_equal(honest.ground_truth, shot.ground_truth)
    np.testing.assert_array_equal(honest.mask, shot.mask)


@pytest.mark.parametrize("index", range(6))
def test_equation_one_recomposes_the_source(index: int) -> None:
    shot = make_sample(SUNNY, index)
    assert shot.effect.sum() > 10
    layered = (1 - shot.effect_alpha[..., None]) * shot.ground_truth
    darkened = (shot.effect_alpha > 0) & (shot.matte == 0)
    assert np.abs(layered - shot.source)[darkened].max() <= 2
    assert not (shot.effect & ~darkened).any(), "without gloss an effect only darkens"


@pytest.mark.parametrize("config", [SUNNY, GLOSSY, PASTED], ids=["sunny", "glossy", "pasted"])
def test_masks_and_effects_say_what_their_docstrings_say(config: SyntheticConfig) -> None:
    for index in range(5):
        shot = make_sample(config, index)
        np.testing.assert_array_equal(shot.mask, shot.matte >= 0.5)
        np.testing.assert_array_equal(shot.effect, (changes(shot) >= 6) & (shot.matte == 0))
        assert shot.matte.mean() >= 0.012 - 1e-6, "nobody's target is that small"
        assert 0 <= shot.matte.min() <= shot.matte.max() <= 1
        assert 0 <= shot.effect_alpha.min() <= shot.effect_alpha.max() <= 1
        quarters = (shot.classes.reshape(64, 2, 64, 2) >= 2).mean(axis=(1, 3))
        assert (quarters >= shot.matte).all()


def test_triplets_and_pool_items_carry_the_shot() -> None:
    shot = make_sample(SUNNY, 2)
    (triplet,) = synthetic_triplets(SUNNY, range(2, 3))
    item = as_pool_item(shot, "train")
    assert (triplet.key, triplet.scene, triplet.origin) == (shot.key, shot.scene, "studio:train/901/2")
    assert (item.key, item.scene, item.class_name) == (shot.key, shot.scene, shot.class_name)
    np.testing.assert_array_equal(triplet.ground_truth, shot.ground_truth)
    np.testing.assert_array_equal(item.mask, as_triplet(shot, "train").mask)
    assert not hasattr(item, "ground_truth")
