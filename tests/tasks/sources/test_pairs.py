"""Pairs of plain images from a folder, a clip and the studio."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_specs.captured_pair import ImagePair
from data_specs.errors import InputError
from data_specs.reject import Reject
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.sources.pairs import ClipPairs, FolderPairs, SyntheticPairs, count_pairs, read_pairs, reduced
from tasks.sources.source_files import images_digest
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample


@pytest.fixture
def folder(tmp_path: Path, write_pair) -> Path:
    for number, stem in enumerate(("a", "b", "c", "d")):
        write_pair(tmp_path / "pairs", stem, number)
    return tmp_path / "pairs"


def read(source) -> list[ImagePair | Reject]:
    return list(read_pairs(source))


def test_a_folder_of_two_parts_gives_pairs_without_masks(folder: Path) -> None:
    source = FolderPairs(path=folder, focal_fraction=1.25)
    assert count_pairs(source) == 4
    pairs = read(source)
    assert all(isinstance(each, ImagePair) for each in pairs)
    for number, pair in enumerate(pairs):
        assert isinstance(pair, ImagePair)
        written = cv2.imread(str(folder / f"source/{'abcd'[number]}.png"))
        assert written is not None
        assert np.array_equal(pair.source, written[..., ::-1])
        assert pair.focal_px == 1.25 * 48
        assert pair.origin == f"folder:pairs/{'abcd'[number]}"
    assert len({each.key for each in pairs if isinstance(each, ImagePair)}) == 4


def test_parts_of_a_source_are_the_whole(folder: Path) -> None:
    source = FolderPairs(path=folder)
    parts = [each for first in range(0, 4, 3) for each in read_pairs(source, first, 3)]
    assert [_name(each) for each in parts] == [_name(each) for each in read(source)]


def test_a_films_frames_are_one_scene(tmp_path: Path, write_pair) -> None:
    for number in range(6):
        write_pair(tmp_path / "film", f"walk_frame_{number:04d}", number)
        write_pair(tmp_path / "film", f"IMG_{number:04d}", 10 + number)
    pairs = [each for each in read(FolderPairs(path=tmp_path / "film")) if isinstance(each, ImagePair)]
    scenes = {each.origin.rpartition("/")[2]: each.scene for each in pairs}
    assert len(scenes) == 12
    assert len({scene for stem, scene in scenes.items() if "frame" in stem}) == 1
    assert len(set(scenes.values())) == 7


def _name(found: ImagePair | Reject) -> str:
    return found.name if isinstance(found, Reject) else found.origin


def test_bad_pairs_are_refused_and_the_rest_goes_on(folder: Path) -> None:
    (folder / "ground_truth/a.png").unlink()
    whole = (folder / "source/b.png").read_bytes()
    (folder / "source/b.png").write_bytes(whole[:300])
    small = cv2.imread(str(folder / "ground_truth/c.png"))
    assert small is not None
    assert cv2.imwrite(str(folder / "ground_truth/c.png"), small[:40])
    clear = np.zeros((48, 48, 4), np.uint8)
    assert cv2.imwrite(str(folder / "source/e.png"), clear)
    assert cv2.imwrite(str(folder / "ground_truth/e.png"), clear)
    grey = np.full((48, 48), 90, np.uint8)
    for part in ("source", "ground_truth"):
        assert cv2.imwrite(str(folder / part / "f.png"), grey)
    found = {_name(each).rpartition("/")[2]: each for each in read(FolderPairs(path=folder))}
    reasons = {name: each.reason.value for name, each in found.items() if isinstance(each, Reject)}
    assert reasons == {
        "a": "file is missing",
        "b": "truncated image",
        "c": "sizes of source, mask and ground truth differ",
        "e": "not RGB or grey",
    }
    grey_pair = found["f"]
    assert isinstance(grey_pair, ImagePair)
    assert (grey_pair.source == 90).all()


def test_one_scene_is_one_split_whatever_stood_in_it(folder: Path) -> None:
    for stem in ("b", "c", "d"):
        (folder / f"ground_truth/{stem}.png").write_bytes((folder / "ground_truth/a.png").read_bytes())
    pairs = [each for each in read(FolderPairs(path=folder)) if isinstance(each, ImagePair)]
    assert len({each.scene for each in pairs}) == len({each.split for each in pairs}) == 1
    assert len({each.key for each in pairs}) == 4


def test_large_images_are_reduced_to_the_longer_side() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    assert reduced(image, 200).shape == (150, 200, 3)
    assert reduced(image, 400) is image


def test_the_studios_pairs_are_its_shots() -> None:
    source = SyntheticPairs(renderer=SyntheticConfig(size_px=32, seed=2, split="test"), count=5)
    (pair,) = read_pairs(source, 3, 1)
    assert isinstance(pair, ImagePair)
    shot = make_sample(source.renderer, 3)
    assert (pair.key, pair.scene, pair.split, pair.focal_px) == (shot.key, shot.scene, "test", shot.focal_px)
    assert np.array_equal(pair.source, shot.source)
    assert len(list(read_pairs(source, 3, 100))) == 2
    assert count_pairs(source) == 5
    assert images_digest(source) == ""


def test_a_clips_pairs_are_its_triplets_without_masks() -> None:
    source = ClipPairs(clip=ClipConfig(size_px=128, crop_min_px=128, crop_max_px=192, frame_step=40))
    assert count_pairs(source) is None
    pairs, triplets = read(source), list(clip_triplets(source.clip))
    assert len(pairs) == len(triplets)
    for pair, triplet in zip(pairs, triplets, strict=True):
        assert isinstance(pair, Reject) == isinstance(triplet, Reject)
        if isinstance(pair, ImagePair) and not isinstance(triplet, Reject):
            assert (pair.scene, pair.split, pair.origin) == (triplet.scene, triplet.split, triplet.origin)
            assert np.array_equal(pair.ground_truth, triplet.ground_truth)


def test_changed_files_are_other_work(folder: Path) -> None:
    source = FolderPairs(path=folder)
    before = images_digest(source)
    assert images_digest(FolderPairs(path=folder, focal_fraction=2)) == before
    (folder / "mask/a.png").unlink()
    assert images_digest(source) == before
    (folder / "source/a.png").write_bytes((folder / "source/b.png").read_bytes())
    assert images_digest(source) != before


def test_a_folder_without_a_part_is_one_sentence(folder: Path) -> None:
    for path in (folder / "ground_truth").iterdir():
        path.unlink()
    (folder / "ground_truth").rmdir()
    with pytest.raises(InputError, match="holds no folder ground_truth/"):
        count_pairs(FolderPairs(path=folder))
    with pytest.raises(InputError, match="does not exist"):
        images_digest(ClipPairs(clip=ClipConfig(path=folder / "none.mp4")))
