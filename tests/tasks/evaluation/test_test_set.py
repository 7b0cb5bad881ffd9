"""What is measured on: counts against the shards', and names that follow the images."""

import shutil
from pathlib import Path

import pytest

from data_specs.errors import CleanplateError, FlowError, InputError
from data_specs.reject import Reject
from data_specs.triplet import Triplet
from tasks.evaluation.test_set import VersionSet, pinned, read_set, set_digest, set_words
from tasks.sources.readers import FolderSource
from tasks.storage.dataset import create_version
from tasks.storage.workspace import Workspace


@pytest.fixture
def whole(studio):
    """The workspace with a version that holds training and test pairs."""
    number = create_version(
        studio.workspace, [(studio.pairs, None), (studio.tests, None)], studio.version.number, "tests too"
    ).number
    return studio.workspace.root, number


def test_a_split_of_a_version(whole, studio) -> None:
    root, number = whole
    chosen = pinned(VersionSet(workspace=root))
    assert isinstance(chosen, VersionSet)
    assert chosen.version == number
    found = list(read_set(chosen))
    keys = [row.key for row in studio.workspace.ledger().shards.samples_of(studio.tests.name)]
    assert [each.key for each in found if isinstance(each, Triplet)] == keys
    assert len(found) == len(keys) == 8
    train = pinned(VersionSet(workspace=root, split="train"))
    assert len(list(read_set(train))) == 12
    assert set_words(chosen) == f"workspace workspace, dataset version {number}, test split"


def test_an_older_version_stays_what_it_was(whole, studio) -> None:
    root, _ = whole
    with pytest.raises(FlowError, match="no triplet to measure on"):
        list(read_set(pinned(VersionSet(workspace=root, version=studio.version.number))))


def test_origins_are_chosen_by_their_beginning(whole) -> None:
    root, _ = whole
    assert len(list(read_set(pinned(VersionSet(workspace=root, origin="studio:"))))) == 8
    with pytest.raises(FlowError, match="origin clip:"):
        list(read_set(pinned(VersionSet(workspace=root, origin="clip:"))))


def test_the_name_follows_the_images_not_the_place(whole, studio, tmp_path: Path) -> None:
    root, number = whole
    shutil.copytree(root, tmp_path / "copy")
    here = set_digest(pinned(VersionSet(workspace=root)))
    assert set_digest(pinned(VersionSet(workspace=tmp_path / "copy"))) == here
    assert set_digest(pinned(VersionSet(workspace=root, version=number))) == here
    others = [VersionSet(workspace=root, split="train"), VersionSet(workspace=root, origin="studio:")]
    others.append(VersionSet(workspace=root, version=studio.version.number))
    assert len({here, *(set_digest(pinned(other)) for other in others)}) == 4


def test_a_folder_is_taken_whole_with_its_rejects(tmp_path: Path, write_pair) -> None:
    for number in range(12):
        write_pair(tmp_path / "pairs", f"p{number:02d}", number)
    (tmp_path / "pairs/mask/p00.png").unlink()
    chosen = pinned(FolderSource(path=tmp_path / "pairs", size_px=32))
    found = list(read_set(chosen))
    assert [type(each) for each in found] == [Reject, *[Triplet] * 11]
    before = set_digest(chosen)
    write_pair(tmp_path / "pairs", "p05", 99)
    assert set_digest(chosen) != before


def test_nothing_to_measure_on_is_said_with_the_reason(tmp_path: Path, write_pair) -> None:
    write_pair(tmp_path / "pairs", "p", 0)
    with pytest.raises(FlowError, match="the first was refused: smaller than the sample size"):
        list(read_set(pinned(FolderSource(path=tmp_path / "pairs", size_px=512))))


@pytest.mark.parametrize(("made", "error"), [(False, InputError), (True, FlowError)])
def test_a_workspace_that_is_not_there_or_empty(
    tmp_path: Path, made: bool, error: type[CleanplateError]
) -> None:
    if made:
        Workspace.open(tmp_path / "w")
    with pytest.raises(error):
        pinned(VersionSet(workspace=tmp_path / "w"))
