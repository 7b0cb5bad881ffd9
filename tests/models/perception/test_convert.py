"""Published pickles become safetensors once: the same tensors; what would run code is refused."""

import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from data_specs.errors import InputError
from models.perception.convert import PickleKind, convert, main, weights_in
from models.perception.sam import SIZES, SamConfig, SamSegmenter, build_sam
from models.perception.yolo import YoloConfig, YoloDetector, YoloSize, build_yolo, yolo_is_installed

ROOT = Path(__file__).parents[3]
needs_yolo = pytest.mark.skipif(not yolo_is_installed(), reason="the extra `yolo` is not installed")


def test_a_sam_pickle_is_read_as_weights(tmp_path: Path) -> None:
    torch.save(build_sam(SIZES["tiny"]).state_dict(), tmp_path / "sam.pth")
    convert("sam", tmp_path / "sam.pth", tmp_path / "out")
    assert len(SamSegmenter(SamConfig(weights=tmp_path / "out")).model_hash) == 20


@needs_yolo
def test_a_yolo_pickle_keeps_its_class_names(tmp_path: Path) -> None:
    network = build_yolo("tiny", 2)
    network.names = {0: "cat", 1: "dog"}
    del network.args  # as published files have it: a plain dict or nothing
    torch.save({"model": network, "ema": None}, tmp_path / "yolo.pt")
    convert("yolo", tmp_path / "yolo.pt", tmp_path / "out")
    detector = YoloDetector(YoloConfig(weights=tmp_path / "out"))
    assert detector.class_names == ("cat", "dog")


@pytest.mark.parametrize("size", ["tiny", "n", pytest.param("x", marks=pytest.mark.slow)])
@needs_yolo
def test_a_yolos_tensors_are_those_that_torch_names(size: YoloSize, tmp_path: Path) -> None:
    network = build_yolo(size, 80)
    network.names = {number: f"class {number}" for number in range(80)}
    del network.args
    torch.save({"epoch": -1, "model": None, "ema": network.half(), "train_args": {}}, tmp_path / "yolo.pt")
    convert("yolo", tmp_path / "yolo.pt", tmp_path / "out")
    found, expected = load_file(tmp_path / "out" / "model.safetensors"), network.float().state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {each.dtype for each in found.values()} == {torch.float32, torch.int64}


class Calls:
    """A pickle that would call something."""

    def __init__(self, what: Callable[..., Any], *arguments: Any) -> None:
        self._call = (what, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


class Website(ThreadingHTTPServer):
    """Loopback's part of the internet; notes what is asked for."""

    def __init__(self, given: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Giving)
        self.given, self.asked = given, list[str]()
        self.address = f"http://127.0.0.1:{self.server_port}/second.pt"


class Giving(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        website = self.server
        assert isinstance(website, Website)
        website.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(website.given)))
        self.end_headers()
        self.wfile.write(website.given)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def command(kind: str, file: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """As a page tells people to type it."""
    return subprocess.run(
        [sys.executable, "-m", "models.perception.convert", kind, str(file), str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def refused(file: Path, why: str) -> bool:
    """Whether it ends in one sentence that says this, exit 1, and nothing is written."""
    out = file.with_name("out")
    ran = command("yolo", file, out)
    said = ran.stderr.strip().splitlines()
    return (ran.returncode, len(said), out.exists()) == (1, 1, False) and why in said[0]


@pytest.mark.parametrize("kind", ["sam", "yolo"])
def test_a_pickle_that_runs_code_is_refused(kind: PickleKind, tmp_path: Path) -> None:
    torch.save({"model": Calls(Path.touch, tmp_path / "harm")}, tmp_path / "bad.pt")
    with (tmp_path / "bad.pt").open("rb") as file, pytest.raises(InputError, match="it names"):
        weights_in(kind, file)
    assert not (tmp_path / "harm").exists()


@needs_yolo
def test_a_pickle_that_has_ultralytics_open_a_second_file_is_refused(tmp_path: Path) -> None:
    from ultralytics.nn.tasks import torch_safe_load

    torch.save({"model": Calls(Path.touch, tmp_path / "harm")}, tmp_path / "second.pt")
    torch.save({"model": Calls(torch_safe_load, str(tmp_path / "second.pt"))}, tmp_path / "bad.pt")
    assert refused(tmp_path / "bad.pt", "(it names ultralytics.nn.tasks.torch_safe_load)")
    assert not (tmp_path / "harm").exists()


@needs_yolo
def test_a_pickle_that_has_ultralytics_fetch_a_second_file_is_refused(tmp_path: Path) -> None:
    from ultralytics.nn.tasks import torch_safe_load

    torch.save({"model": Calls(Path.touch, tmp_path / "harm")}, tmp_path / "second.pt")
    with Website((tmp_path / "second.pt").read_bytes()) as website:
        threading.Thread(target=website.serve_forever, daemon=True).start()
        torch.save({"model": Calls(torch_safe_load, website.address)}, tmp_path / "bad.pt")
        assert refused(tmp_path / "bad.pt", "(it names ultralytics.nn.tasks.torch_safe_load)")
        website.shutdown()
    assert website.asked == []
    assert not (tmp_path / "harm").exists()


@needs_yolo
def test_a_pickle_that_has_a_network_evaluate_its_settings_is_refused(tmp_path: Path) -> None:
    """A module's class, by its own name: it is the call that does harm."""
    from ultralytics.nn.tasks import DetectionModel

    settings = {
        "nc": 1,
        "activation": f"__import__('pathlib').Path({str(tmp_path / 'harm')!r}).touch()",
        "backbone": [[-1, 1, "Conv", [8, 3, 2]]],
        "head": [[[0], 1, "Detect", ["nc"]]],
    }
    torch.save({"model": Calls(DetectionModel, settings)}, tmp_path / "bad.pt")
    assert refused(tmp_path / "bad.pt", "takes no arguments")
    assert not (tmp_path / "harm").exists()


def huge() -> dict[str, torch.Tensor]:
    return {"w": torch.zeros(1).expand(1 << 40)}


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("yolo", (1, 2)), ("yolo", {"model": None}), ("yolo", {"weights": torch.zeros(3)}), ("yolo", [1]),
        ("yolo", {"model": nn.Conv2d(1, 1, 1)}), ("yolo", {"model": nn.GELU()}), ("yolo", huge()),
        ("sam", (1, 2)), ("sam", {}), ("sam", {"model": torch.zeros(3), "epoch": 4}), ("sam", huge()),
        ("sam", nn.Conv2d(1, 1, 1)), ("sam", b"no pickle at all"), ("yolo", b"no pickle at all"),
        ("yolo", b""),
    ],
    ids=lambda held: str(held)[:30],
)  # fmt: skip
def test_what_is_no_such_file_ends_in_a_sentence(kind: PickleKind, held: object) -> None:
    file = BytesIO(held if isinstance(held, bytes) else b"")
    file.name = "other.pt"
    if not isinstance(held, bytes):
        torch.save(held, file)
    file.seek(0)
    with pytest.raises(
        InputError,
        match=rf"other\.pt: cannot be read as weights of {kind} \(.+\); give the file as published$",
    ):
        weights_in(kind, file)


def test_one_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pt: No such file"):
        convert("sam", tmp_path / "absent.pt", tmp_path / "out")


def test_one_that_is_no_kind_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", "vgg", "file", "folder"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


CONFINED = """
import os, socket, subprocess, sys
from pathlib import Path
import torch
from models.perception.convert import confine

before = open(sys.argv[1], "w")
confine()
tries = {
    "write": lambda: Path(sys.argv[2]).write_text("x"),
    "read": lambda: Path(__file__).read_text() if "__file__" in globals() else open("/etc/passwd"),
    "connect": lambda: socket.socket(),
    "program": lambda: subprocess.run(["touch", sys.argv[2]]),
    "open before": lambda: (before.write("x"), before.flush()),
}
for name, attempt in tries.items():
    try:
        attempt()
    except OSError as error:
        continue
    print("not kept from", name)
os.system("touch " + sys.argv[2])
"""


def test_the_process_that_reads_it_can_open_nothing(tmp_path: Path) -> None:
    """Were there a way round the stand-ins."""
    ran = subprocess.run(
        [sys.executable, "-c", CONFINED, str(tmp_path / "before"), str(tmp_path / "harm")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == ""
    assert not (tmp_path / "harm").exists()
    assert (tmp_path / "before").read_bytes() == b""
