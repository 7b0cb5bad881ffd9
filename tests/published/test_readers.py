"""Published layouts become samples; what is almost right is refused by name."""

import json
import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.coco import CocoConfig, coco_items
from tasks.sources.instance_masks import BadAnnotationError, decoded_counts, segmentation_mask
from tasks.sources.mulan import MulanConfig, mulan_triplets
from tasks.sources.openimages_pool import PoolConfig, pool_items
from tasks.sources.plain_pickle import ForeignPickleError, read_plain_pickle
from tasks.sources.rord import RordConfig, rord_triplets
from tasks.sources.sa1b import Sa1bConfig, sa1b_items
from tasks.sources.triplet_files import FolderConfig, folder_triplets
from tests.published.data_sets import (
    HEIGHT,
    WIDTH,
    coco,
    compressed,
    mask_of,
    mulan,
    openimages_v7,
    photo,
    polygon,
    rord,
    rord_prepared,
    runs_of,
    sa1b,
)

SIZE_PX = 64


def reasons(samples) -> dict[str, RejectReason]:
    return {sample.name: sample.reason for sample in samples if isinstance(sample, Reject)}


def kept(samples) -> list:
    return [sample for sample in samples if not isinstance(sample, Reject)]


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_rord_scenes_frames_have_its_last_frame_as_truth_and_one_scene(tmp_path: Path) -> None:
    samples = list(rord_triplets(RordConfig(path=rord(tmp_path, scenes=4), size_px=HEIGHT)))
    assert [type(sample) for sample in samples] == [Triplet] * 12
    assert len({sample.scene for sample in kept(samples)}) == 4
    for number, sample in enumerate(kept(samples)):
        scene, frame = divmod(number, 3)
        points = polygon(10 * scene + frame)
        truth = np.asarray(photo(scene))
        left = next(x for x in range(WIDTH - HEIGHT + 1) if _near(sample.ground_truth, truth, x))
        assert agreement(sample.mask, mask_of(points)[:, left : left + HEIGHT]) > 0.9
        changed = np.abs(sample.source.astype(int) - sample.ground_truth).max(2) > 40
        assert agreement(sample.mask, changed) > 0.85, "the class BO of the background marks nothing"


def _near(cut: np.ndarray, whole: np.ndarray, left: int) -> bool:
    return bool(np.abs(cut.astype(int) - whole[:, left : left + HEIGHT]).mean() < 2)


def test_rords_prepared_masks_are_refused_as_inverted_or_turned(tmp_path: Path) -> None:
    root = rord_prepared(tmp_path)
    refused = list(rord_triplets(RordConfig(path=root, size_px=SIZE_PX)))
    assert set(reasons(refused).values()) == {RejectReason.MASK_INVERTED}
    assert len(refused) == 6
    turned = list(rord_triplets(RordConfig(path=root, size_px=SIZE_PX, turn_masks=True)))
    assert not reasons(turned)
    assert len({sample.scene for sample in kept(turned)}) == 3, "frames of one take are one scene"
    for sample in kept(turned):
        changed = np.abs(sample.source.astype(int) - sample.ground_truth).max(2) > 40
        assert agreement(sample.mask, changed) > 0.8


def test_an_inverted_mask_of_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    root = rord_prepared(tmp_path, scenes=1) / "train"
    (root / "img").rename(root / "source")
    (root / "gt").rename(root / "ground_truth")
    samples = list(folder_triplets(FolderConfig(path=root, size_px=SIZE_PX, mask_area_max=1)))
    assert set(reasons(samples).values()) == {RejectReason.MASK_INVERTED}


def test_rord_almost_right_is_refused_by_name(tmp_path: Path) -> None:
    root = rord(tmp_path / "rord", scenes=4)
    jpg, masks = root / "Training/jpg", root / "Training/M"
    scenes = sorted(path.name for path in jpg.iterdir())
    (masks / scenes[0] / f"{scenes[0]}_F0001_M.json").unlink()
    (masks / scenes[1] / f"{scenes[1]}_F0001_M.json").write_text("{}")
    for path in sorted((jpg / scenes[2]).iterdir())[1:]:
        path.unlink()
    truth = Image.open(jpg / scenes[3] / f"{scenes[3]}_G0001.jpg")
    truth.save(jpg / scenes[3] / f"{scenes[3]}_F0001.jpg", quality=95)
    samples = list(rord_triplets(RordConfig(path=root, size_px=SIZE_PX)))
    assert sorted(reasons(samples).values()) == sorted(
        [
            RejectReason.MISSING_FILE,
            RejectReason.BAD_RECORD,
            RejectReason.MISSING_FILE,
            RejectReason.NO_CHANGE,
        ]
    )
    masks.rename(root / "Training/masks")
    with pytest.raises(InputError, match="no folder M/"):
        list(rord_triplets(RordConfig(path=root)))
    with pytest.raises(InputError, match="holds no frames of RORD"):
        list(rord_triplets(RordConfig(path=masks.parent / "masks")))


def test_mulans_layers_are_removed_one_at_a_time(tmp_path: Path) -> None:
    root = mulan(tmp_path, images=3)
    samples = list(mulan_triplets(MulanConfig(path=root, size_px=HEIGHT)))
    assert not reasons(samples)
    assert len(samples) == 6
    assert len({sample.scene for sample in kept(samples)}) == 3
    for number, sample in enumerate(kept(samples)):
        changed = (sample.source != sample.ground_truth).any(2)
        assert changed.any()
        assert not (changed & ~sample.mask).any()
        whole = np.asarray(Image.open(root / f"images/{number // 2:012d}.png"))
        cuts = (whole[:, left : left + HEIGHT] for left in range(WIDTH - HEIGHT + 1))
        assert any(np.array_equal(cut, sample.source) for cut in cuts), "all layers give the image"


class Hostile:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_a_pickle_that_calls_something_is_refused_by_name_and_the_rest_is_read(tmp_path: Path) -> None:
    root = mulan(tmp_path, images=4)
    paths = sorted((root / "annotations").iterdir())
    paths[0].write_bytes(zlib.compress(pickle.dumps({"background": Hostile(), "instances": {}})))
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    (root / "images/000000000002.png").unlink()
    samples = list(mulan_triplets(MulanConfig(path=root, size_px=SIZE_PX)))
    assert reasons(samples) == {
        "annotations/000000000000.p.zl": RejectReason.FOREIGN_PICKLE,
        "annotations/000000000001.p.zl": RejectReason.TRUNCATED,
        "annotations/000000000002.p.zl": RejectReason.MISSING_FILE,
    }
    assert len(kept(samples)) == 2
    with pytest.raises(InputError, match="holds no \\*.p.zl"):
        list(mulan_triplets(MulanConfig(path=root / "images")))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_and_images_of_every_kind_are_as_they_were(protocol: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, (5, 7)).astype(kind) for kind in ("u1", "i2", "i8", "f4", "?")]
    arrays.append(np.asfortranarray(rng.integers(0, 99, (5, 7, 3))))
    images = [Image.fromarray(rng.integers(0, 255, (5, 7), np.uint8)), photo(1, 9, 7)]
    images.append(Image.fromarray(rng.random((5, 11)) > 0.5))
    content = zlib.compress(pickle.dumps({"a": arrays, "b": images, "c": ("text", None, 1.5)}, protocol))
    read = read_plain_pickle(content)
    assert read["c"] == ["text", None, 1.5]
    for one, other in zip([*read["a"], *read["b"]], [*arrays, *map(np.asarray, images)], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [Hostile(), np.array([Hostile()], object), {"a": {1, 2}}, os.getcwd])
def test_nothing_else_is_read_from_a_pickle(value: object) -> None:
    with pytest.raises(ForeignPickleError):
        read_plain_pickle(zlib.compress(pickle.dumps(value)))


def test_openimages_v7_is_read_with_its_archives_packed(tmp_path: Path) -> None:
    root = openimages_v7(tmp_path / "openimages")
    before = {path.name for path in root.rglob("*")}
    samples = list(pool_items(PoolConfig(path=root, size_px=SIZE_PX)))
    assert set(reasons(samples).values()) == {RejectReason.CLASS_EXCLUDED}, "hats"
    assert {sample.class_name for sample in kept(samples)} == {"Dog", "Car", "Chair"}
    assert len(kept(samples)) == 30
    assert {path.name for path in root.rglob("*")} == before
    cut = root / "train-masks-3.zip"
    cut.write_bytes(cut.read_bytes()[:-30])
    lost = [sample for sample in kept(samples) if sample.origin.startswith("pool:3")]
    again = list(pool_items(PoolConfig(path=root, size_px=SIZE_PX)))
    assert len(kept(again)) == len(kept(samples)) - len(lost)
    assert list(reasons(again).values()).count(RejectReason.TRUNCATED) == len(lost) > 0


def test_a_class_file_of_another_release_or_none_is_a_sentence(tmp_path: Path) -> None:
    root = openimages_v7(tmp_path, images=4)
    classes = root / "oidv7-class-descriptions-boxable.csv"
    classes.write_text("/m/00,Dog\n/m/1234,Other\n")
    with pytest.raises(InputError, match="names 1 of the 4 classes .* another release"):
        list(pool_items(PoolConfig(path=root)))
    classes.unlink()
    with pytest.raises(InputError, match="download oidv7-class-descriptions-boxable.csv"):
        list(pool_items(PoolConfig(path=root)))


def test_run_lengths_and_polygons_are_decoded_as_others_encode_them() -> None:
    rng = np.random.default_rng(0)
    for density in (0.01, 0.5, 0.999):
        mask = rng.random((37, 91)) < density
        counts = runs_of(mask)
        for form in (counts, compressed(counts)):
            read = segmentation_mask({"size": [37, 91], "counts": form}, (37, 91))
            np.testing.assert_array_equal(read, mask)
    assert decoded_counts(compressed([5, 100_000, 3, 99_000, 1])) == [5, 100_000, 3, 99_000, 1]
    assert decoded_counts("52203") == [5, 2, 2, 2, 5], "worked out by hand"
    # The example in the documentation of COCO's API.
    example = segmentation_mask({"size": [7, 1], "counts": [2, 3, 1, 1]}, (7, 1))
    assert example[:, 0].astype(int).tolist() == [0, 0, 1, 1, 1, 0, 1]
    points = polygon(3)
    assert agreement(segmentation_mask([points], (HEIGHT, WIDTH)), mask_of(points)) > 0.97


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        "words",
        {"size": [4, 4], "counts": [3]},
        {"size": [4, 4], "counts": [17]},
        {"size": [4, 4], "counts": [-1, 17]},
        {"size": [4, 5], "counts": [16]},
        {"size": [4, 4], "counts": "\x07"},
        {"size": [4, 4], "counts": "P"},
        [[1, 2, float("nan"), 4, 5, 6]],
        [["a", 2, 3, 4, 5, 6]],
        [[1, 2, 3, 4, 5, 6, 7]],
    ],
)
def test_a_mask_that_cannot_be_decoded_says_so(segmentation: object) -> None:
    with pytest.raises(BadAnnotationError):
        segmentation_mask(segmentation, (4, 4))


def test_cocos_instances_are_a_pool(tmp_path: Path) -> None:
    root = coco(tmp_path, images=9)
    table = root / "annotations/instances_train2017.json"
    content = json.loads(table.read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["image_id"] = 99
    content["annotations"][2]["segmentation"] = {"size": [1, 1], "counts": [1]}
    table.write_text(json.dumps(content))
    config = CocoConfig(path=root, size_px=SIZE_PX, excluded_classes=("Dog",))
    samples = list(coco_items(config))
    assert reasons(samples) == {
        "instances_train2017#0": RejectReason.CROWD,
        "instances_train2017#1": RejectReason.BAD_RECORD,
        "instances_train2017#2": RejectReason.BAD_RECORD,
        **dict.fromkeys((f"instances_train2017#{n}" for n in (3, 5, 7)), RejectReason.CLASS_EXCLUDED),
    }
    assert {sample.class_name for sample in kept(samples)} == {"cat"}
    capped = list(coco_items(config.model_copy(update={"class_cap": 1})))
    assert len(kept(capped)) == 1
    (root / "train2017").rename(root / "pictures")
    table.touch()
    with pytest.raises(InputError, match="no folder train2017/"):
        list(coco_items(config))
    table.write_text(table.read_text()[:-9])
    with pytest.raises(InputError, match="no whole JSON"):
        list(coco_items(config))


def test_sa1bs_masks_are_a_pool_of_one_class(tmp_path: Path) -> None:
    root = sa1b(tmp_path, images=5)
    (root / "sa_000000/sa_1.json").write_text("{")
    (root / "sa_000000/sa_2.jpg").unlink()
    samples = list(sa1b_items(Sa1bConfig(path=root, size_px=SIZE_PX)))
    assert reasons(samples) == {
        "sa_1.json": RejectReason.BAD_RECORD,
        "sa_000000/sa_2#0": RejectReason.MISSING_FILE,
    }
    assert [sample.class_name for sample in kept(samples)] == ["object"] * 3
    red = [sample.source[sample.mask].mean(0) for sample in kept(samples)]
    assert len(red) == 3
