"""A thousand composites, each held against everything a composite promises."""

import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_specs.composite import Composite
from data_specs.cutout import Cutout
from data_specs.errors import InputError
from data_specs.plate import Plate
from data_specs.reject import Reject
from tasks.objectclear.composite import ComposeConfig, choose_parts, compose
from tasks.storage.shards import decode_composite, encode_composite

ROOT = Path(__file__).resolve().parents[3]
WANTED = 1_000


def drawn(draw: int, plates: list[Plate], cutouts: list[Cutout]) -> list[Composite] | Reject:
    rng = np.random.default_rng([7, draw])
    parts = choose_parts(rng, len(plates), [each.shadow_class for each in cutouts], 0.5)
    if isinstance(parts, Reject):
        return parts
    return compose(ComposeConfig(), draw, plates[parts.plate], [cutouts[number] for number in parts.cutouts])


@pytest.fixture(scope="module")
def images(plates: list[Plate], cutouts: list[Cutout]) -> list[list[Composite]]:
    """The composites of a thousand images, image by image."""
    made: list[list[Composite]] = []
    draw = 0
    while len(made) < WANTED:
        composites = drawn(draw, plates, cutouts)
        draw += 1
        if not isinstance(composites, Reject):
            made.append(composites)
    assert draw < 2 * WANTED
    return made


def test_nothing_changes_outside_the_foregrounds(images: list[list[Composite]], plates: list[Plate]) -> None:
    by_key = {plate.key: plate.image for plate in plates}
    for composites in images:
        touched = np.zeros(composites[0].mask.shape, bool)
        for each in composites:
            assert each.mask.any()
            assert not (each.mask & ~each.foreground).any()
            assert np.array_equal(each.source[~each.foreground], each.ground_truth[~each.foreground])
            assert np.array_equal(each.source, composites[0].source)
            touched |= each.foreground
        plate = by_key[composites[0].plate]
        assert np.array_equal(composites[0].source[~touched], plate[~touched])
        if len(composites) == 1:
            assert np.array_equal(composites[0].ground_truth, plate)
        else:
            other = composites[1].foreground
            assert np.array_equal(composites[0].ground_truth[~other], plate[~other])


def test_every_object_stands_on_the_ground(images: list[list[Composite]], plates: list[Plate]) -> None:
    """To 2 px: the distance of the lowest seen tenth's lower edge to the plate's ground, column by column."""
    off_ground = {
        plate.key: cv2.distanceTransform((~plate.ground).astype(np.uint8), cv2.DIST_L2, 5) for plate in plates
    }
    for composites in images:
        for each in composites:
            placed = each.objects[each.removed]
            distance = off_ground[each.plate]
            assert distance[placed.foot] <= 2
            nearest = each.removed == len(composites) - 1
            if not nearest:
                continue
            rows = np.flatnonzero(each.mask.any(axis=1))
            assert rows[-1] == placed.foot[0]
            for column in np.flatnonzero(each.mask[rows[-1] - len(rows) // 10 :].any(axis=0)):
                lowest = np.flatnonzero(each.mask[:, column])[-1]
                assert distance[lowest, column] <= 2


def test_objects_have_the_size_their_depth_asks_for(
    images: list[list[Composite]], plates: list[Plate], cutouts: list[Cutout]
) -> None:
    """Metres on the plate equal metres in the capture (width · depth / focal length).

    To 3 px each, since thin corners and parts of pixels are lost in resizing; to 2 % by the median.
    """
    ratios = []
    by_plate = {plate.key: plate for plate in plates}
    by_cutout = {cutout.key: cutout for cutout in cutouts}
    for composites in images:
        each = composites[-1]
        placed, plate = each.objects[-1], by_plate[each.plate]
        cutout = by_cutout[placed.cutout]
        width_px = np.ptp(np.flatnonzero(each.mask.any(axis=0))) + 1
        captured_px = np.ptp(np.flatnonzero((cutout.matte >= 128).any(axis=0))) + 1
        here = width_px * float(plate.depth[placed.foot]) / plate.focal_px
        there = captured_px * cutout.foot_depth / cutout.focal_px
        pixel = float(plate.depth[placed.foot]) / plate.focal_px
        assert abs(here - there) <= 3 * pixel
        ratios.append(here / there)
    assert np.median(ratios) == pytest.approx(1, abs=0.02)


def test_two_objects_agree_in_light_and_hardly_hide_each_other(
    images: list[list[Composite]], plates: list[Plate], cutouts: list[Cutout]
) -> None:
    by_plate = {plate.key: plate for plate in plates}
    lights = {cutout.key: cutout.shadow_class for cutout in cutouts}
    kinds: Counter[int] = Counter()
    for composites in images:
        placed = composites[0].objects
        kinds[len(placed)] += 1
        assert len(placed) == len(composites)
        assert len({lights[each.cutout] for each in placed}) == 1
        assert [lights[each.cutout] for each in placed] == [each.shadow_class for each in placed]
        depths = [by_plate[composites[0].plate].depth[each.foot] for each in placed]
        assert depths == sorted(depths, reverse=True)
    assert kinds[1] > 100
    assert kinds[2] > 100


def test_keys_differ_and_lineage_is_whole(
    images: list[list[Composite]], plates: list[Plate], cutouts: list[Cutout]
) -> None:
    every = [each for composites in images for each in composites]
    assert len({each.key for each in every}) == len(every)
    scenes = {part.key: part.scene for part in [*plates, *cutouts]}
    for each in every:
        parts = [each.plate, *(placed.cutout for placed in each.objects)]
        assert each.scenes == tuple(sorted({scenes[part] for part in parts}))
        assert (each.split, each.scene) == ("train", scenes[each.plate])


def test_encoded_as_jpeg_the_background_is_the_plates_own_jpeg(
    images: list[list[Composite]], plates: list[Plate]
) -> None:
    """In 8×8 blocks that no object touches, to the bit: the codec works block by block."""
    settings = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    for composites in images[:100]:
        if len(composites) > 1:
            continue
        plate = next(each for each in plates if each.key == composites[0].plate)
        coded = cv2.imencode(".jpg", plate.image[..., ::-1], settings)[1]
        expected = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1]
        back = decode_composite(encode_composite(composites[0], "jpeg"))
        side = len(plate.ground) // 8
        blocks = back.foreground.reshape(side, 8, side, 8).any(axis=(1, 3))
        touched = np.kron(blocks, np.ones((8, 8), bool))
        assert np.array_equal(back.source[~touched], expected[~touched])
        assert np.array_equal(back.ground_truth, expected)


def digest_of(composites: list[Composite]) -> str:
    digest = hashlib.sha256()
    for each in composites:
        for name, data in sorted(encode_composite(each, "png").members.items()):
            digest.update(name.encode() + data)
    return digest.hexdigest()


IN_ANOTHER_PROCESS = """
import hashlib
from data_specs.cutout import Cutout
from tasks.objectclear.composite import ComposeConfig, compose
from tasks.objectclear.cutout import cut_out
from tasks.objectclear.plate import synthetic_plate
from tasks.sources.synthetic.samples import as_captured_pair
from tasks.objectclear.plate import PlateConfig
from tasks.storage.shards import encode_composite
from tasks.sources.synthetic.scene import World
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample

config = SyntheticConfig(world=World(grounds="mixed"), size_px=96, seed=8)
plate = synthetic_plate(config, 2, PlateConfig())
digest = hashlib.sha256()
for number in range(12):
    cutout = cut_out(as_captured_pair(make_sample(config, number), "train"))
    if not isinstance(cutout, Cutout):
        continue
    composites = compose(ComposeConfig(seed=4), number, plate, [cutout])
    for each in composites if isinstance(composites, list) else []:
        for name, data in sorted(encode_composite(each, "png").members.items()):
            digest.update(name.encode() + data)
print(digest.hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes(plates: list[Plate], cutouts: list[Cutout]) -> None:
    for draw in range(20):
        first, second = drawn(draw, plates, cutouts), drawn(draw, plates, cutouts)
        if isinstance(first, Reject) or isinstance(second, Reject):
            assert first == second
            continue
        assert digest_of(first) == digest_of(second)
    runs = [
        subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64


def test_parts_of_different_splits_or_lights_are_refused(plates: list[Plate], cutouts: list[Cutout]) -> None:
    foreign = replace(cutouts[0], split="test")
    with pytest.raises(InputError, match="splits test and train"):
        compose(ComposeConfig(), 0, plates[0], [foreign])
    other = next(each for each in cutouts if each.shadow_class != cutouts[0].shadow_class)
    with pytest.raises(InputError, match="cannot be combined"):
        compose(ComposeConfig(), 0, plates[0], [cutouts[0], other])
