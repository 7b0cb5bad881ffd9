"""The wheel in an environment without extras, away from the checkout: `make test-wheel` runs these.

The environment is named by CLEANPLATE_CLEAN. The tests run elsewhere, so that it holds nothing of theirs.
"""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from yaml import safe_load

from flows.runtime.prefect_server import free_port, server_answers
from tests.deploy.own_server import until

if "CLEANPLATE_CLEAN" not in os.environ:
    pytest.skip("`make test-wheel` runs these", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
CLEAN = Path(os.environ["CLEANPLATE_CLEAN"]).absolute()
PACKAGES = ("data_specs", "models", "tasks", "flows", "deploy")
EXTRA_MODULES = ("ultralytics", "ray", "psycopg", "bitsandbytes", "pytest", "nltk")
DEPLOYMENTS = safe_load((ROOT / "deploy" / "prefect.yaml").read_text())["deployments"]
INSTALL_YOLO = "`pip install 'cleanplate[yolo]'` brings it (AGPL-3.0)"


def environment(home: Path, **variables: str) -> dict[str, str]:
    """None of this process's variables but those of the machine."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "DO_NOT_TRACK": "1",
        "COLUMNS": "200",
        **variables,
    }


def run(home: Path, *words: str, clean: Path = CLEAN, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program of the environment, in an empty folder, which is its home too."""
    return subprocess.run(
        [clean / "bin" / words[0], *words[1:]],
        cwd=home,
        env=environment(home, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def well(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


def test_the_environment_has_the_wheel_and_no_extra(home: Path) -> None:
    code = (
        "import json, importlib\n"
        "from importlib.util import find_spec\n"
        f"places = [importlib.import_module(package).__file__ for package in {PACKAGES}]\n"
        f"print(json.dumps([places, [name for name in {EXTRA_MODULES} if find_spec(name)]]))"
    )
    places, extras = json.loads(well(run(home, "python", "-c", code)))
    assert extras == []
    assert all(Path(place).is_relative_to(CLEAN) for place in places)


def test_the_wheel_carries_every_file_of_the_packages(home: Path) -> None:
    command = ["git", "ls-files", "--", *PACKAGES]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    code = "from importlib.metadata import files; print(*files('cleanplate'), sep='\\n')"
    carried = set(well(run(home, "python", "-c", code)).splitlines())
    assert len(tracked) > 300
    assert {name for name in tracked if name not in carried} <= {
        f"deploy/{name}.Dockerfile" for name in ("cpu", "gpu", "store")
    }, "an image is built from a clone"


def test_every_entrypoint_of_the_deployments_is_there(home: Path) -> None:
    code = (
        "import sys\n"
        "from prefect.flows import load_flow_from_entrypoint\n"
        "for each in sys.argv[1:]:\n"
        "    print(load_flow_from_entrypoint(each, use_placeholder_flow=False).name)"
    )
    wanted = [each["entrypoint"] for each in DEPLOYMENTS]
    assert len(wanted) == 12
    names = well(run(home, "python", "-c", code, *wanted)).splitlines()
    assert names == [each.rpartition(".")[2].replace("_", "-") for each in wanted]


def test_help_version_and_doctor(home: Path) -> None:
    assert "doctor" in well(run(home, "cleanplate", "--help"))
    assert re.fullmatch(r"cleanplate \d+\.\d+\.\d+\n", well(run(home, "cleanplate", "--version")))
    told = json.loads(well(run(home, "cleanplate", "doctor", "--json", "--disk-gb", "0")))
    assert told["well"]
    [detector] = [each for each in told["checks"] if each["name"] == "detector"]
    assert (detector["state"], detector["found"]) == ("note", "Grounding DINO")


def test_remove_takes_an_object_out_of_a_frame_of_the_sample_clip(home: Path) -> None:
    clip = cv2.VideoCapture(str(ROOT / "tasks/sources/sample/pedestrians.mp4"))
    there, frame = clip.read()
    assert there
    mask = np.zeros(frame.shape[:2], np.uint8)
    mask[60:100, 80:110] = 255
    cv2.imwrite(str(home / "frame.png"), frame)
    cv2.imwrite(str(home / "mask.png"), mask)
    told = json.loads(
        well(run(home, "cleanplate", "remove", "frame.png", "mask.png", "-o", "out.png", "--json"))
    )
    assert len(told["removals"]) == 1
    removed = cv2.imread(str(home / "out.png"))
    assert removed is not None
    assert removed.shape == frame.shape
    assert (removed != frame)[mask > 0].any()
    assert (removed == frame)[:, 300:].all(), "far from the mask nothing changes"


def test_the_demo_runs(home: Path) -> None:
    told = json.loads(well(run(home, "cleanplate", "demo", "--rounds", "0", "--json", "--workspace", "demo")))
    assert [each["kind"] for each in told["phases"]] == ["base", "initialisation"]
    assert (home / "demo" / "report.html").is_file()


def test_a_run_that_sees_takes_grounding_dino_and_says_so(home: Path) -> None:
    studio = {"size_px": 96, "seed": 9}
    settings = {
        "pairs": [{"kind": "synthetic", "renderer": studio, "count": 12, "use_rendered_truth": False}],
        "backgrounds": [{"kind": "synthetic", "renderer": studio, "scenes": 8}],
        "attempts": 8,
    }
    (home / "seeing.json").write_text(json.dumps(settings))
    done = run(
        home, "cleanplate", "composite", "--config", "seeing.json", "--workspace", "composed", "--json"
    )
    told = json.loads(well(done))
    assert told["stages"][0]["kept"] > 0
    said = " ".join(done.stderr.split())
    assert f"Grounding DINO finds the objects: ultralytics is not installed; {INSTALL_YOLO}" in said
    asked = {**settings, "perception": {"detector": {"kind": "yolo"}}}
    (home / "asked.json").write_text(json.dumps(asked))
    refused = run(home, "cleanplate", "composite", "--config", "asked.json", "--workspace", "refused")
    assert refused.returncode == 1
    assert " ".join(refused.stderr.split()).endswith(f"ultralytics is not installed; {INSTALL_YOLO}")


def page_at(address: str) -> bytes:
    """Empty while nobody listens: the address is said a little before."""
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.read()
    except urllib.error.URLError:
        return b""


def test_the_review_page_is_served(home: Path) -> None:
    make = "from tasks.storage.workspace import Workspace; Workspace.open('reviewed')"
    well(run(home, "python", "-c", make))
    added = well(run(home, "cleanplate", "review", "reviewers", "add", "ada", "--workspace", "reviewed"))
    assert "ada's token" in added
    words = ["review", "serve", "--workspace", "reviewed"]
    with subprocess.Popen(
        [CLEAN / "bin" / "cleanplate", *words],
        cwd=home,
        env=environment(home, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline())
            assert address is not None
            until(lambda: b"<title>" in page_at(address[0]))
        finally:
            server.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the images install, on top of the clean environment: the extras that their files name."""
    files = [(ROOT / "deploy" / f"{name}.Dockerfile").read_text() for name in ("cpu", "gpu")]
    [extras] = {each for text in files for each in re.findall(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)}
    place = tmp_path_factory.mktemp("image")
    python = CLEAN / "bin" / "python"
    subprocess.run([python, "-m", "venv", place], check=True)
    [below] = CLEAN.glob("lib/python3*/site-packages")
    (place / below.relative_to(CLEAN) / "below.pth").write_text(f"{below}\n")
    pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", f"cleanplate[{extras}]"], check=True)
    return place


@pytest.fixture
def server(image: Path, home: Path) -> Iterator[str]:
    """A Prefect server of the image, on a database of its own."""
    port = free_port()
    variables = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deploy.event_order",
    }
    command = [image / "bin" / "python", "-m", "prefect", "server", "start", "--port", str(port)]
    api = f"http://127.0.0.1:{port}/api"
    with (
        (home / "server.log").open("wb") as log,
        subprocess.Popen(
            command, cwd=home, env=environment(home, **variables), stdout=log, stderr=log
        ) as process,
    ):
        try:
            until(lambda: server_answers(api))
            yield api
        finally:
            process.terminate()


def test_an_images_packages_register_every_deployment(image: Path, home: Path, server: str) -> None:
    variables = {"PREFECT_API_URL": server, "CLEANPLATE_WORKSPACE": str(home / "registered")}
    for _ in range(2):
        done = run(home, "python", "-m", "deploy.register", clean=image, **variables)
        assert "is registered at" in well(done)
    asked = urllib.request.Request(
        f"{server}/deployments/filter", b"{}", {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        found = json.loads(answer.read())
    assert sorted((each["name"], each["entrypoint"]) for each in found) == sorted(
        (each["name"], each["entrypoint"]) for each in DEPLOYMENTS
    )


def test_an_images_extras_can_be_imported(image: Path, home: Path) -> None:
    well(run(home, "python", "-c", "import ray, psycopg", clean=image))
    health = ["worker", "start", "--help"]
    assert "--with-healthcheck" in well(
        run(home, "python", "-m", "deploy.process_worker", *health, clean=image)
    )


def test_the_programs_that_the_services_start_are_installed(image: Path, home: Path) -> None:
    services = safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    for service in services.values():
        if "command" in service:
            program = service["command"][0]
            assert any((place / "bin" / program).exists() for place in (image, CLEAN)), program
    ray = services["ray"]["command"]
    shown = well(run(home, "ray", ray[1], "--help", clean=image))
    assert [word for word in ray if word.startswith("--") and word not in shown] == []
