"""RORem's meta.json layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.triplet_files import MetaJsonConfig, meta_json_triplets


def write_dataset(root: Path) -> dict[str, str]:
    """One triplet of 64×64; returns its record."""
    for name in ("source", "mask", "GT"):
        (root / name).mkdir(parents=True)
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(root / "source/1.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[16:32, 16:32] = 255
    Image.fromarray(mask).save(root / "mask/1.png")
    Image.fromarray(np.full((64, 64, 3), 30, np.uint8)).save(root / "GT/1.png")
    return {"source": "source/1.png", "mask": "mask/1.png", "GT": "GT/1.png"}


def read(root: Path, records: object) -> list[Triplet | Reject]:
    (root / "meta.json").write_text(json.dumps(records))
    return list(meta_json_triplets(MetaJsonConfig(path=root / "meta.json", size_px=32)))


def test_gt_becomes_ground_truth_and_other_keys_are_left_alone(tmp_path: Path) -> None:
    (found,) = read(tmp_path, [write_dataset(tmp_path) | {"score": 1.0}])
    assert isinstance(found, Triplet)
    assert found.ground_truth.max() == 30
    assert found.source.min() == 90
    assert found.mask.sum() == 64  # 16×16 reduced twofold.


def test_a_named_scene_is_shared(tmp_path: Path) -> None:
    record = write_dataset(tmp_path)
    found = read(
        tmp_path, [record | {"scene": "yard"}, record | {"scene": "yard"}, record | {"scene": "hall"}]
    )
    scenes = [one.scene for one in found if isinstance(one, Triplet)]
    assert scenes[0] == scenes[1] != scenes[2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "source/none.png"}, RejectReason.MISSING_FILE),
        ({"GT": "../outside.png"}, RejectReason.OUTSIDE_FOLDER),
        ({"mask": "/etc/hostname"}, RejectReason.OUTSIDE_FOLDER),
        ({"source": "link.png"}, RejectReason.OUTSIDE_FOLDER),
        ({"source": "source"}, RejectReason.MISSING_FILE),
        ({"source": "bad\x00name.png"}, RejectReason.BAD_RECORD),
        ({"GT": 7}, RejectReason.BAD_RECORD),
        ({"GT": ""}, RejectReason.BAD_RECORD),
    ],
)
def test_a_bad_record_is_one_named_reject_between_good_ones(
    tmp_path: Path, change: dict[str, object], reason: RejectReason
) -> None:
    root = tmp_path / "data"
    record = write_dataset(root)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "outside.png")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    first, bad, last = read(root, [record, record | change, record])
    assert isinstance(first, Triplet)
    assert isinstance(last, Triplet)
    assert isinstance(bad, Reject)
    assert (bad.name, bad.reason) == ("meta.json[1]", reason)


@pytest.mark.parametrize("record", [None, 3, "source", [], {"source": "a", "mask": "b"}])
def test_what_is_no_record_is_refused(tmp_path: Path, record: object) -> None:
    (found,) = read(tmp_path, [record])
    assert isinstance(found, Reject)
    assert found.reason == RejectReason.BAD_RECORD


@pytest.mark.parametrize("content", [b"[{", b"{}", b"\xff\xfe", b"", b"[" * 100_000])
def test_a_bad_file_is_one_sentence_naming_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "meta.json").write_bytes(content)
    with pytest.raises(InputError, match="meta.json"):
        meta_json_triplets(MetaJsonConfig(path=tmp_path / "meta.json"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="meta.json"):
        meta_json_triplets(MetaJsonConfig(path=tmp_path / "meta.json"))
