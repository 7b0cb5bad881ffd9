"""Which masks go with which image."""

from pathlib import Path

import pytest

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from tasks.removal.files import RemovalFiles, match_files


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty files: nothing may be opened."""
    monkeypatch.chdir(tmp_path)
    names = ["p/a.jpg", "p/b.png", "p/c.2.png", "p/note.txt", "m/a.png", "m/b.2.png", "m/b.10.png", "m/b.png"]
    for name in [*names, "m/c.2.png", "n/a.3.png"]:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    return tmp_path


def matched(*arguments: str, source: str = "p") -> list[RemovalFiles]:
    found = match_files(Path(source), [Path(each) for each in arguments], Path("o"))
    files = [each for each in found if isinstance(each, RemovalFiles)]
    assert files == found
    return files


def masks_of(*arguments: str, source: str = "p") -> dict[str, list[str]]:
    return {
        each.source.name: [str(mask) for mask in each.masks] for each in matched(*arguments, source=source)
    }


@pytest.mark.usefixtures("place")
def test_folders_go_together_by_stem_and_number() -> None:
    assert masks_of("m") == {
        "a.jpg": ["m/a.png"],
        "b.png": ["m/b.png", "m/b.2.png", "m/b.10.png"],
        "c.2.png": ["m/c.2.png"],
    }
    assert masks_of("m", "n")["a.jpg"] == ["m/a.png", "n/a.3.png"]
    assert [str(each.out) for each in matched("m")] == ["o/a.png", "o/b.png", "o/c.2.png"]


@pytest.mark.usefixtures("place")
def test_one_image_takes_files_and_folders_in_order() -> None:
    assert masks_of("n/a.3.png", "m", source="p/a.jpg") == {"a.jpg": ["n/a.3.png", "m/a.png"]}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("out", "expected"),
    [("x.png", "x.png"), ("x.JPG", "x.JPG"), ("d/x.jpeg", "d/x.jpeg"), ("m", "m/b.png"), ("d", "d/b.png")],
)
def test_where_one_removal_goes(out: str, expected: str) -> None:
    (found,) = match_files(Path("p/b.png"), [Path("m/a.png")], Path(out))
    assert isinstance(found, RemovalFiles)
    assert str(found.out) == expected
    assert str(found.beside("compare")) == str(Path(expected).with_suffix("")) + ".compare.png"


@pytest.mark.usefixtures("place")
def test_what_lacks_its_other_half_is_a_reject() -> None:
    Path("m/a.png").unlink()
    Path("m/z.png").touch()
    Path("p/b.jpg").touch()
    rejects = [each for each in match_files(Path("p"), [Path("m")], Path("o")) if isinstance(each, Reject)]
    assert [(each.name, each.reason) for each in rejects] == [
        ("a", RejectReason.MISSING_FILE),
        ("b", RejectReason.BAD_RECORD),
        ("z", RejectReason.MISSING_FILE),
    ]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("source", "mask", "out", "fault"),
    [
        ("p/none.png", "m", "o", "does not exist"),
        ("p", "none", "o", "does not exist"),
        ("p", "m/a.png", "o", "name a folder of masks"),
        ("p", "p", "o", "different folders"),
        ("p", "m", "p/../p", "different folders"),
        ("p", "m", "p/note.txt", "is a file"),
        ("p/c.2.png", "n", "o", "holds no mask c.2.png"),
        ("p/a.jpg", "m/a.png", "p/a.jpg", "overwrite"),
        ("p/a.jpg", "m/a.png", "m", "overwrite"),
    ],
)
def test_arguments_that_do_not_go_together_are_one_sentence(
    source: str, mask: str, out: str, fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        match_files(Path(source), [Path(mask)], Path(out))
