"""A fill of the mask grown by attention, with the shipped ObjectClear."""

import numpy as np
import pytest

from models.baselines.patch_match import PatchMatchFill
from models.baselines.telea import TeleaFill
from models.metrics.psnr import psnr
from models.objectclear.attended_fill import AttendedFill
from models.objectclear.remover import ObjectClearRemover
from models.protocols import AttentiveRemover
from tasks.registry.removers import open_remover
from tasks.sources.synthetic.samples import SyntheticConfig, synthetic_triplets
from tasks.sources.synthetic.scene import World


@pytest.fixture(scope="module")
def attentive() -> ObjectClearRemover:
    remover = open_remover("object-clear", None).remover
    assert isinstance(remover, ObjectClearRemover)
    return remover


def _scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box with a dark shadow beside it on grainy ground: source, mask of the box, shadow."""
    source = np.random.default_rng(0).integers(140, 170, (96, 96, 3), np.uint8)
    mask, shadow = np.zeros((96, 96), bool), np.zeros((96, 96), bool)
    mask[36:60, 30:50], shadow[50:60, 50:66] = True, True
    source[shadow] = source[shadow] // 2
    source[mask] = (220, 40, 30)
    return source, mask, shadow


def test_shadows_go_which_the_mask_alone_leaves(attentive: ObjectClearRemover) -> None:
    """On rendered scenes that nothing was trained on: mean dB where a shadow lies beside the mask."""
    scenes = list(synthetic_triplets(SyntheticConfig(world=World(), seed=977), range(8)))
    ways = {"alone": PatchMatchFill(), "grown": AttendedFill(attentive, PatchMatchFill())}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for scene in scenes:
        change = np.abs(scene.source.astype(int) - scene.ground_truth).max(axis=2)
        shadow = (change > 16) & ~scene.mask
        for way, remover in ways.items():
            removal = remover.remove([scene.source], [scene.mask], [0])[0]
            found[way].append(psnr(removal, scene.ground_truth, shadow))
    assert np.mean(found["grown"]) > np.mean(found["alone"]) + 3, found


def test_nothing_changes_beyond_the_grown_mask(attentive: ObjectClearRemover) -> None:
    source, mask, _ = _scene()
    remover = AttendedFill(attentive, TeleaFill())
    assert isinstance(remover, AttentiveRemover)
    removal, attention = remover.remove_attending(source, mask, 3)
    beyond = ~mask & (attention <= remover.threshold)
    assert beyond.any()
    np.testing.assert_array_equal(removal[beyond], source[beyond])
    np.testing.assert_array_equal(attention, attentive.remove_attending(source, mask, 3)[1])


def test_its_name_tells_its_parts(attentive: ObjectClearRemover) -> None:
    ways = [
        AttendedFill(attentive, TeleaFill()),
        AttendedFill(attentive, PatchMatchFill()),
        AttendedFill(attentive, TeleaFill(), 0.5),
    ]
    assert len({way.model_hash for way in ways}) == 3
