"""Images written where people asked for them."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_specs.errors import InputError
from tasks.removal.files import check_writable, write_image

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".JPG", 6), (".jpeg", 6)])
def test_colours_and_grey_are_read_back_by_another_program(
    tmp_path: Path, suffix: str, tolerance: int
) -> None:
    ramp = np.linspace(0, 255, 48).astype(np.uint8)
    rgb = np.stack([np.tile(ramp, (32, 1)), np.tile(255 - ramp, (32, 1)), np.full((32, 48), 90)], 2)
    for name, pixels in (("rgb", rgb.astype(np.uint8)), ("grey", rgb[..., 0].astype(np.uint8))):
        path = tmp_path / f"{name}{suffix}"
        write_image(path, pixels)
        found = np.asarray(Image.open(path))
        assert found.shape == pixels.shape
        assert np.abs(found.astype(int) - pixels).max() <= tolerance
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder" / "a.png")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").touch()
    (tmp_path / "taken.png").mkdir()
    for path, fault in (
        (tmp_path / "a.webp", "PNG or JPEG"),
        (tmp_path / "taken.png", "is a folder"),
        (tmp_path / "file" / "a.png", "cannot be made"),
    ):
        with pytest.raises(InputError, match=fault):
            check_writable(path)


def test_a_folder_that_takes_no_file_is_said() -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_image(Path("/proc/a.png"), np.zeros((4, 4, 3), np.uint8))


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """The limit on file sizes stands for the disk: the kernel refuses the write itself."""
    path = tmp_path / "a.png"
    write_image(path, np.zeros((8, 8, 3), np.uint8))
    before = path.read_bytes()
    script = (
        "import resource, signal, sys; import numpy as np; from pathlib import Path\n"
        "from data_specs.errors import InputError; from tasks.removal.files import write_image\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)\n"
        "try: write_image(Path(sys.argv[1]), noise)\n"
        "except InputError as error: print(error)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    shown = subprocess.run(
        [sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == f"{path}: cannot be written (File too large); name another file"
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
