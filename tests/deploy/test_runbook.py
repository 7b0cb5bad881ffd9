"""docs/operations: what it says to type is read by its programs, and what it lists is what there is."""

import re
import shlex
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest
from yaml import safe_load

from deploy.register import PREFECT_FILE
from flows.nightly.candidates import NightlyCandidatesConfig
from flows.nightly.composites import NightlyCompositingConfig
from flows.nightly.nights import night_seed
from tasks.monitoring.prometheus import write_textfile
from tasks.storage.workspace import Workspace
from tests.deploy.test_deploy_files import KNOWN
from tests.deploy.written_commands import ROOT, blocks, read_command

PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "operations").glob("*.md"))}
RUNBOOK = PAGES["runbook"]
COMMANDS = blocks(RUNBOOK)
ALL = "\n".join(PAGES.values())
RUN = "07f03759-4ae0-469a-85d5-1b2a3049ed1b"
IN_TEXT = [
    words
    for words in re.findall(r"`((?:cleanplate|prefect|docker|python) [^`]+)`", ALL)
    if not words.endswith(" exec cpu-worker")
]


@pytest.fixture
def named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that the pages speak of, where the command line looks whether they are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/examples").mkdir(parents=True)
    for name in set(re.findall(r"(?:docs/examples/)?\b[a-z]+\.json", ALL)):
        (tmp_path / name).write_text("{}")


@pytest.mark.usefixtures("named_files")
@pytest.mark.parametrize("command", sorted({*blocks(ALL), *IN_TEXT}))
def test_what_is_to_be_typed_can_be_typed(command: str) -> None:
    if command.startswith("ray ") and find_spec("ray") is None:
        pytest.skip("the extra `ray` is not installed")
    read_command(shlex.split(command.replace("RUN", RUN)))


@pytest.mark.usefixtures("named_files")
@pytest.mark.parametrize(
    "command",
    [
        "cleanplate reprot", "cleanplate report --ours 24", "cleanplate model rollback",
        "cleanplate review open drift-2", "cleanplate dataset rollback four --reason seams",
        f"prefect flow-run mend {RUN}", f"prefect flow-run logs {RUN} --tale", "python -m deploy.registry",
        "docker compose --file deploy/compose.yaml restart shop", "docker network inspect cleanplate_shop",
        "export NOTHING", "sudo reboot",
    ],
)  # fmt: skip
def test_what_cannot_be_typed_is_found(command: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        read_command(shlex.split(command))


def test_the_variables_to_be_set_are_read_by_some_program() -> None:
    exports = [shlex.split(line)[1:] for line in blocks(ALL) if line.startswith("export ")]
    names = {setting.partition("=")[0] for settings in exports for setting in settings}
    assert len(names) > 8
    kubernetes = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_"
    assert names - {f"{kubernetes}NAME", f"{kubernetes}KEY"} <= KNOWN


def test_eleven_things_go_wrong_and_each_has_something_to_type() -> None:
    parts = re.split(r"^## \d+\. ", RUNBOOK, flags=re.MULTILINE)[1:]
    assert len(parts) == 11
    assert [part.splitlines()[0] for part in parts if not blocks(part)] == []


def test_the_missed_nights_settings_are_those_of_the_forms() -> None:
    missed = [command for command in COMMANDS if "--param" in command]
    assert len(missed) == 2
    for command, kind in zip(missed, (NightlyCompositingConfig, NightlyCandidatesConfig), strict=True):
        name, _, value = shlex.split(command)[-1].partition("=")
        config = kind.model_validate_json(value.replace("DATE", "2026-11-26"))
        assert name == "config"
        assert (config.run_date, config.timezone) == (date(2026, 11, 26), "Europe/Berlin")


def test_the_nights_seed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    [command] = [line for line in COMMANDS if line.startswith("python -c")]
    exec(shlex.split(command)[2].replace("DATE", "2026-11-26"))
    assert int(capsys.readouterr().out) == night_seed(0, date(2026, 11, 26))


def test_the_sentences_quoted_are_said_by_the_code() -> None:
    code = "".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text())
        for layer in ("tasks", "flows")
        for path in (ROOT / layer).rglob("*.py")
    )
    for said in (
        "no discriminator is trained yet, so they wait for people",
        "the store refuses these credentials",
        "the store has not answered",
        "round.drifted",
    ):
        assert f"`{said}" in RUNBOOK
        assert said in code


def test_the_deployments_listed_are_those_registered() -> None:
    rows = re.findall(r"^\| `([\w-]+)/([\w-]+)` +\| (.+?) +\| (\w+), (\w+) ", PAGES["nightly"], re.MULTILINE)
    listed = sorted(
        (name, pool, queue, re.findall(r"\d\d:\d\d", when)) for _, name, when, pool, queue in rows
    )
    deployments = safe_load(PREFECT_FILE.read_text())["deployments"]
    assert listed == sorted(
        (
            each["name"],
            each["work_pool"]["name"],
            each["work_pool"]["work_queue_name"],
            [_clock(schedule["cron"]) for schedule in each.get("schedules", []) if "cron" in schedule],
        )
        for each in deployments
    )
    flows = {flow for flow, *_ in rows}
    assert flows == {_flow_name(each["entrypoint"]) for each in deployments}


def _clock(cron: str) -> str:
    minute, hour, *_ = cron.split()
    return f"{int(hour):02}:{int(minute):02}"


def _flow_name(entrypoint: str) -> str:
    """The name that Prefect shows, as the module writes it before the function."""
    module, _, function = entrypoint.rpartition(".")
    text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    return re.findall(r'@flow\(\s*name="([^"]+)"', text[: text.index(f"\ndef {function}(")])[-1]


def test_the_metrics_listed_are_those_written(tmp_path: Path) -> None:
    path = tmp_path / "cleanplate.prom"
    write_textfile(Workspace.open(tmp_path / "workspace"), path)
    written = re.findall(r"^# TYPE (\w+)", path.read_text(), re.MULTILINE)
    assert re.findall(r"^\| `(cleanplate_\w+)`", PAGES["monitoring"], re.MULTILINE) == written
