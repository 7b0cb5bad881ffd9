"""The cache: the longest unused goes first, what is in use stays, and the dead hold nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.storage.atomic_files import aside_path
from tasks.storage.object_store.cached import Cache

ROOT = Path(__file__).parents[4]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four shards of 100 bytes and a model of 100, used in this order."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "models/digest/unet").mkdir(parents=True)
    for number in range(4):
        (tmp_path / f"shards/{number}.tar").write_bytes(bytes(100))
    (tmp_path / "models/digest/unet/weights").write_bytes(bytes(100))
    (tmp_path / "models/digest.checkpoint.safetensors").write_bytes(bytes(1000))
    for age, path in enumerate([*(f"shards/{number}.tar" for number in range(4)), "models/digest"]):
        os.utime(tmp_path / path, ns=(age, age))
    return tmp_path


def here(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob("[ms]*/*"))


def test_the_longest_unused_goes_and_no_more_than_need_be(root: Path) -> None:
    assert Cache(root, 500).make_room(0) == []
    assert Cache(root, 500).make_room(150) == ["shards/0.tar", "shards/1.tar"]
    assert Cache(root, 500).make_room(150) == []


def test_use_counts(root: Path) -> None:
    cache = Cache(root, 300)
    cache.hold(["shards/0.tar", "shards/1.tar"]).close()
    assert cache.make_room(0) == ["shards/2.tar", "shards/3.tar"]


def test_models_go_whole_and_checkpoints_stay(root: Path) -> None:
    assert Cache(root, 1).make_room(0) == [*(f"shards/{number}.tar" for number in range(4)), "models/digest"]
    assert here(root) == ["models/digest.checkpoint.safetensors"]


def test_what_is_held_stays_even_above_the_limit(root: Path) -> None:
    cache = Cache(root, 1)
    first, second = cache.hold(["shards/0.tar", "models/digest"]), cache.hold(["shards/0.tar"])
    assert cache.make_room(10) == ["shards/1.tar", "shards/2.tar", "shards/3.tar"]
    first.close()
    first.close()
    assert cache.make_room(0) == ["models/digest"]
    second.close()
    assert cache.make_room(0) == ["shards/0.tar"]


def test_what_others_let_go_or_remove_meanwhile_breaks_nothing(root: Path) -> None:
    Cache(root, 500).make_room(0)
    # A link to nothing is, as a file that goes right after the folder was listed, there and not there.
    aside_path(root / "held/hold").symlink_to(root / "gone")
    (root / "shards/9.tar").symlink_to(root / "gone")
    assert Cache(root, 400).make_room(0) == ["shards/0.tar"]


def test_a_forked_childs_copy_lets_nothing_go(root: Path) -> None:
    hold = Cache(root, 1).hold(["shards/0.tar"])
    child = os.fork()
    if child == 0:
        hold.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert "shards/0.tar" not in Cache(root, 1).make_room(0)


KILLED = """
import os, sys
from pathlib import Path
from tasks.storage.object_store.cached import Cache
Cache(Path(sys.argv[1]), 1).hold(["shards/0.tar"])
print(Cache(Path(sys.argv[1]), 1).make_room(0), flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_killed_hold_nothing(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "shards/1.tar" in done.stdout, "shards/0.tar" in done.stdout) == (
        -9,
        True,
        False,
    )
    assert (root / "shards/0.tar").exists()
    assert Cache(root, 1).make_room(0) == ["shards/0.tar"]
    assert list((root / "held").iterdir()) == []
