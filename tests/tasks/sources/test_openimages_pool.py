"""OpenImages' layout: classes, caps, mask sizes, rejects."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_specs.errors import InputError
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject, RejectReason
from tasks.sources.openimages_pool import PoolConfig, pool_items

SEGMENTATION, CLASSES = "train-annotations-object-segmentation.csv", "class-descriptions-boxable.csv"
HEADER = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"


def write_image(root: Path, image_id: str, seed: int, size: tuple[int, int] = (60, 90)) -> None:
    (root / "images").mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), np.random.default_rng(seed).integers(0, 255, 3), np.uint8)
    Image.fromarray(pixels).save(root / "images" / f"{image_id}.jpg", quality=95)


def write_mask(root: Path, name: str, size: tuple[int, int] = (60, 90)) -> None:
    """The middle third in both directions."""
    (root / "masks").mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 3 : 2 * size[0] // 3, size[1] // 3 : 2 * size[1] // 3] = 255
    Image.fromarray(mask).save(root / "masks" / name)


def write_tables(
    root: Path, rows: list[tuple[str, str, str]], classes: str = "/m/1,Dog\n/m/2,Jeans\n/m/3,Car\n"
) -> None:
    lines = [f"{mask},{image},{label},box,0,1,0,1,0.9,x" for mask, image, label in rows]
    (root / SEGMENTATION).write_text("\n".join([HEADER, *lines]) + "\n")
    (root / CLASSES).write_text(classes)


def read(config: PoolConfig) -> tuple[list[PoolItem], list[Reject]]:
    found = list(pool_items(config))
    return [one for one in found if isinstance(one, PoolItem)], [
        one for one in found if isinstance(one, Reject)
    ]


def write_dogs(root: Path, count: int) -> list[tuple[str, str, str]]:
    rows = []
    for number in range(count):
        write_image(root, f"dog{number}", number)
        write_mask(root, f"dog{number}_m1_x.png")
        rows.append((f"dog{number}_m1_x.png", f"dog{number}", "/m/1"))
    return rows


def test_an_item_carries_image_mask_and_class(tmp_path: Path) -> None:
    write_tables(tmp_path, write_dogs(tmp_path, 1))
    (item,), rejects = read(PoolConfig(path=tmp_path, size_px=20))
    assert not rejects
    assert item.class_name == "Dog"
    assert item.origin == "pool:dog0/dog0_m1_x.png"
    expected = np.random.default_rng(0).integers(0, 255, 3)
    assert np.abs(item.source.astype(int) - expected).max() <= 3  # JPEG's rounding.
    place = np.zeros((20, 20), bool)
    # Rows 20..40 of 60 and columns 30..60 of 90, the square 15..75, reduced threefold; a column a third
    # covered or more counts.
    place[6:14, 5:15] = True
    assert (item.mask ^ place).sum() <= 20
    assert item.mask[10, 10]


def test_the_cap_takes_the_same_items_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    rows = write_dogs(tmp_path, 12)
    chosen = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        write_tables(tmp_path, rows)
        items, rejects = read(PoolConfig(path=tmp_path, size_px=20, class_cap=5))
        assert [reject.reason for reject in rejects] == [RejectReason.CLASS_FULL] * 7
        chosen.append([item.key for item in items])
    assert chosen[0] == chosen[1] == chosen[2]
    assert len(set(chosen[0])) == 5


def test_a_refused_image_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    write_tables(tmp_path, write_dogs(tmp_path, 12))
    config = PoolConfig(path=tmp_path, size_px=20, class_cap=5)
    first = read(config)[0][0]
    (tmp_path / "images" / f"{first.origin.split(':')[1].split('/')[0]}.jpg").unlink()
    items, rejects = read(config)
    assert len(items) == 5
    assert first.key not in {item.key for item in items}
    assert RejectReason.MISSING_FILE in {reject.reason for reject in rejects}


def test_clothes_and_body_parts_are_left_out_by_default(tmp_path: Path) -> None:
    ((mask, image, _),) = write_dogs(tmp_path, 1)
    write_tables(
        tmp_path,
        [(mask, image, "/m/2"), (mask, image, "/m/3")],
        "LabelName,DisplayName\n/m/2,Jeans\n/m/3,Car\n",
    )
    items, rejects = read(PoolConfig(path=tmp_path, size_px=20))
    assert [item.class_name for item in items] == ["Car"]
    assert [(reject.reason, reject.detail) for reject in rejects] == [(RejectReason.CLASS_EXCLUDED, "Jeans")]


def test_instances_of_one_image_share_scene_and_split(tmp_path: Path) -> None:
    ((mask, image, _),) = write_dogs(tmp_path, 1)
    write_mask(tmp_path, "second.png", (90, 135))
    write_tables(tmp_path, [(mask, image, "/m/1"), ("second", image, "/m/3")])
    items, _ = read(PoolConfig(path=tmp_path, size_px=20))
    assert len(items) == 2
    assert items[0].scene == items[1].scene
    assert items[0].key != items[1].key
    # The second mask was drawn on an image half as large again: the same third of it.
    np.testing.assert_array_equal(items[0].mask, items[1].mask)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("wide.png", "dog0", "/m/1"), RejectReason.SIZE_MISMATCH),
        (("none.png", "dog0", "/m/1"), RejectReason.MISSING_FILE),
        (("dog0_m1_x.png", "../secret", "/m/1"), RejectReason.OUTSIDE_FOLDER),
        (("dog0_m1_x.png", "dog0", "/m/404"), RejectReason.BAD_RECORD),
        (("dog0_m1_x.png", "", "/m/1"), RejectReason.BAD_RECORD),
    ],
)
def test_a_bad_row_is_one_named_reject(
    tmp_path: Path, row: tuple[str, str, str], reason: RejectReason
) -> None:
    rows = write_dogs(tmp_path, 2)
    write_mask(tmp_path, "wide.png", (60, 100))
    write_tables(tmp_path, [row, *rows])
    items, rejects = read(PoolConfig(path=tmp_path, size_px=20))
    assert len(items) == 2
    assert [reject.reason for reject in rejects] == [reason]


def test_mask_areas_outside_the_limits_are_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, write_dogs(tmp_path, 1))
    items, rejects = read(PoolConfig(path=tmp_path, size_px=20, mask_area_max=0.1))
    assert not items
    assert [reject.reason for reject in rejects] == [RejectReason.MASK_AREA]


@pytest.mark.parametrize("name", [SEGMENTATION, CLASSES])
@pytest.mark.parametrize("content", [None, b"only\n", b"\xff\xfe\x00"])
def test_a_bad_table_is_one_sentence_naming_it(tmp_path: Path, name: str, content: bytes | None) -> None:
    write_tables(tmp_path, write_dogs(tmp_path, 1))
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        list(pool_items(PoolConfig(path=tmp_path)))


def test_every_field_explains_itself_in_the_form() -> None:
    schema = PoolConfig.model_json_schema()["properties"]
    assert all(field.get("description") for field in schema.values())
    assert "Jeans" in schema["excluded_classes"]["default"]
    assert schema["class_cap"]["default"] == 500
