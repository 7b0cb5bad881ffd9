"""Each long command, told to end in the middle of its work, ends in time; the same command completes it.

What it made then equals what a command makes that nobody disturbed.
"""

import hashlib
import json
import re
import shutil
import socket
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks._contents import contents_of, differences, left_overs
from data_specs.shard import EncodedSample
from tasks.registry.store import BASE_FOLDER
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace
from tests.conftest import PairWriter
from tests.flows.cli.test_train_discriminator_command import review_all
from tests.flows.rorem.test_cycle import small
from tests.flows.rorem.test_people_round import pairs_to_compare_on
from tests.flows.runtime.started import START_SECONDS, Started, cleanplate, files, like_timeout

SIGTERM_CODE = 128 + 15
LAST_WORDS = "start the same command again"
TRAINING = {"steps": 12, "batch_size": 4, "warmup_steps": 1, "checkpoint_every": 1}

AtWork = Callable[[Path, Started], bool]


def there(pattern: str, count: int = 1) -> AtWork:
    """So many files are there."""
    return lambda folder, _: files(folder, pattern, count)()


def says(words: str) -> AtWork:
    """It has said these words."""
    return lambda _, running: words in running.output.read_text()


def reads(size: int) -> AtWork:
    """It has read so many bytes."""

    def read(_: Path, running: Started) -> bool:
        counts = Path(f"/proc/{running.process.pid}/io").read_text()
        return int(counts.split()[1]) > size

    return read


@dataclass(frozen=True)
class Case:
    """A command, in a folder that holds the stock."""

    words: str
    at_work: AtWork
    settings: dict[str, Any] | None = None
    made: str = ""
    """What it makes, a folder's files; empty: all that the workspace holds."""
    code: int = SIGTERM_CODE


_REMOVER = {"training": TRAINING}
_ROUND = {
    "acceptance": "none_after_humans", "human_items": 8, "automation_items": 4, "shard_items": 2,
    "sampling": {"steps": 1}, "retraining": TRAINING,
}  # fmt: skip
_OBJECT_CLEAR = {
    "encoder_objects": 8, "encoder_training": TRAINING, "pairs": 8, "training": TRAINING, "tested": 2,
}  # fmt: skip
_CYCLE = {
    **small(Path("w")).model_dump(mode="json", exclude={"workspace", "rounds", "seed"}),
    "initialisation": TRAINING,
}
CHECKPOINT = "*.checkpoint.safetensors"

CASES = {
    "train remover": Case(
        f"train remover --workspace w --parent {BASE_FOLDER}", there(f"w/models/{CHECKPOINT}"), _REMOVER
    ),
    "train remover in two processes": Case(
        f"train remover --workspace w --parent {BASE_FOLDER} --processes 2",
        there(f"w/models/{CHECKPOINT}"),
        _REMOVER,
    ),
    "train discriminator": Case(
        "train discriminator --workspace w", there(f"w/models/{CHECKPOINT}"), _REMOVER
    ),
    "train distilled": Case("train distilled --workspace w", there(f"w/models/{CHECKPOINT}"), _REMOVER),
    "train object-clear": Case("train object-clear --workspace w", there(f"w/models/{CHECKPOINT}"), _REMOVER),
    "train shipped-object-clear": Case(
        "train shipped-object-clear --out made/oc",
        there("made/oc.work/shards/*.tar"),
        _OBJECT_CLEAR,
        made="made",
    ),
    "cycle": Case("cycle --workspace new --rounds 1", there("new/shards/*-candidates-*.tar"), _CYCLE),
    "round": Case("round 2 --workspace w", there("w/shards/002-candidates-*.tar", 2), _ROUND),
    "evaluate": Case(
        "evaluate --triplets pairs --size-px 48 --out made --grid-rows 1",
        there("made/measured/*"),
        made="made/measured",
    ),
    "remove": Case("remove pairs/source pairs/mask --out made", there("made/*.png"), made="made"),
    "dataset export": Case(
        "dataset export made --rows-per-file 1 --workspace w", there("made/data/*.parquet"), made="made"
    ),
    "review export": Case(
        "review export made --format csv --workspace w", there("made/images/*"), made="made"
    ),
}
FAST = {"dataset export"}


@pytest.fixture(scope="session")
def stock(filmed: SimpleNamespace, write_pair: PairWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace ``w`` and with 60 ``pairs``; made once, and copied for each run."""
    folder = tmp_path_factory.mktemp("stock")
    shutil.copytree(filmed.workspace.root, folder / "w")
    space = Workspace.open(folder / "w")
    review_all(SimpleNamespace(**{**vars(filmed), "workspace": space}))
    pairs_to_compare_on(space)
    some_composites(space)
    for number in range(60):
        write_pair(folder / "pairs", f"pair{number:03d}", number)
    return folder


def some_composites(space: Workspace) -> None:
    """300 of a few bytes: an export copies them and opens none."""
    names = ("source.png", "ground_truth.png", "mask.png", "foreground.png", "json")
    samples = [
        EncodedSample(
            f"composite{number}", {name: b"%d" % number for name in names}, f"scene{number}", "train"
        )
        for number in range(300)
    ]
    write_shard(space, stage="composites", round=0, index=0, input_digest="composites", samples=samples)


def start(case: Case, folder: Path) -> Started:
    words = case.words.split()
    if case.settings is not None:
        (folder / "settings.json").write_text(json.dumps(case.settings))
        words += ["--config", "settings.json"]
    return cleanplate(folder, *words)


def complete(case: Case, folder: Path) -> None:
    running = start(case, folder)
    assert running.process.wait(START_SECONDS) == 0, running.output.read_text()[-3000:]


def content(path: Path) -> Any:
    """A table's rows without the seconds that they took, or another file's sha256."""
    if path.suffix != ".parquet":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    rows = pq.read_table(path).to_pylist()
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def outcome(case: Case, folder: Path) -> Any:
    """What the command made."""
    if case.made:
        paths = [path for path in sorted((folder / case.made).rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): content(path) for path in paths}
    space = Workspace.existing(folder / ("new" if "new" in case.words else "w"))
    assert left_overs(space) == []
    return contents_of(space)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_it_ends_in_time_and_goes_on(name: str, stock: Path, tmp_path: Path) -> None:
    case, broken, unbroken = CASES[name], tmp_path / "broken", tmp_path / "unbroken"
    for folder in (broken, unbroken):
        shutil.copytree(stock, folder)
    running = start(case, broken)
    running.wait_until(lambda: case.at_work(broken, running))
    code = running.ends_in_time(like_timeout)
    assert code == case.code, running.output.read_text()
    assert LAST_WORDS in running.output.read_text()
    complete(case, broken)
    complete(case, unbroken)
    before, after = outcome(case, unbroken), outcome(case, broken)
    if case.made:
        assert before, "it made something"
        assert after == before
    else:
        assert differences(before, after) == ([], [])


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace of 400 MB, which takes a while to read."""
    space = Workspace.open(tmp_path / "w")
    for index in range(8):
        sample = EncodedSample(f"large{index}", {"source.png": bytes(50_000_000)}, f"scene{index}", "train")
        write_shard(
            space, stage="pool", round=0, index=index, input_digest=f"large {index}", samples=[sample]
        )
    yield space
    shutil.rmtree(space.root)


@pytest.mark.slow
def test_a_verification_ends_in_time_and_is_done_again(large: Workspace, tmp_path: Path) -> None:
    running = cleanplate(tmp_path, "dataset", "verify", "--workspace", "w")
    running.wait_until(lambda: reads(150_000_000)(tmp_path, running))
    assert running.ends_in_time(like_timeout) == SIGTERM_CODE
    assert "clean" not in running.output.read_text().replace("cleanplate", "")
    again = cleanplate(tmp_path, "dataset", "verify", "--workspace", "w", "--json")
    assert again.process.wait(START_SECONDS) == 0
    report = json.loads(again.output.read_text())
    assert (report["clean"], report["shards"]) == (True, 8)
    assert report == {**verify_dataset(large).model_dump(mode="json"), "clean": True}


@pytest.mark.slow
def test_the_review_server_ends_in_time_beside_an_open_browser(asked: SimpleNamespace) -> None:
    """Nobody's answer is half taken: the server comes up again over the same batch."""
    for _ in range(2):
        served_and_ended(asked.workspace.root)
        counts = asked.ledger.batches.counts("b1")
        assert (counts.items, counts.left) == (12, 12)


def served_and_ended(workspace: Path) -> None:
    """A server that is told to end while one browser waits and another has sent half a request."""
    running = cleanplate(workspace.parent, "review", "serve", "--workspace", workspace.name)
    running.wait_until(lambda: "review page: " in running.output.read_text())
    found = re.search(r"review page: http://([\d.]+):(\d+)/", running.output.read_text())
    assert found is not None
    with socket.create_connection((found[1], int(found[2]))) as browser:
        browser.sendall(b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        with urllib.request.urlopen(f"http://{found[1]}:{found[2]}/", timeout=30) as page:
            assert page.status == 200
        assert running.ends_in_time(like_timeout) == SIGTERM_CODE, running.output.read_text()
