"""docs/runbook.md and deploy/README.md: what they say to type is read by the programs it is typed to."""

import re
import shlex
from datetime import date
from pathlib import Path

import pytest

from flows.nightly.candidates import NightlyCandidatesConfig
from flows.nightly.composites import NightlyCompositingConfig
from flows.nightly.nights import night_seed
from tests.deploy.written_commands import ROOT, blocks, read_command

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
COMMANDS = blocks(RUNBOOK)
ELSEWHERE = blocks((ROOT / "deploy" / "README.md").read_text())
RUN = "07f03759-4ae0-469a-85d5-1b2a3049ed1b"
IN_TEXT = [
    words
    for words in re.findall(r"`((?:cleanplate|prefect|docker|python) [^`]+)`", RUNBOOK)
    if not words.endswith(" exec cpu-worker")
]


@pytest.fixture
def named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that the page speaks of, where the command line looks whether they are there."""
    monkeypatch.chdir(tmp_path)
    for name in set(re.findall(r"[a-z]+\.json", RUNBOOK)):
        (tmp_path / name).write_text("{}")


@pytest.mark.usefixtures("named_files")
@pytest.mark.parametrize("command", sorted({*COMMANDS, *IN_TEXT, *ELSEWHERE}))
def test_what_is_to_be_typed_can_be_typed(command: str) -> None:
    read_command(shlex.split(command.replace("RUN", RUN)))


@pytest.mark.usefixtures("named_files")
@pytest.mark.parametrize(
    "command",
    [
        "cleanplate reprot", "cleanplate report --ours 24", "cleanplate model rollback",
        "cleanplate review open drift-2", "cleanplate dataset rollback four --reason seams",
        f"prefect flow-run mend {RUN}", f"prefect flow-run logs {RUN} --tale", "python -m deploy.registry",
        "docker compose --file deploy/compose.yaml restart shop", "sudo reboot",
    ],
)  # fmt: skip
def test_what_cannot_be_typed_is_found(command: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        read_command(shlex.split(command))


def test_ten_things_and_one_go_wrong_and_each_has_something_to_type() -> None:
    parts = re.split(r"^## \d+\. ", RUNBOOK, flags=re.MULTILINE)[1:]
    assert len(parts) == 11
    assert [part.splitlines()[0] for part in parts if not blocks(part)] == []


def test_the_missed_nights_settings_are_those_of_the_forms() -> None:
    missed = [command for command in COMMANDS if "--param" in command]
    assert len(missed) == 2
    for command, kind in zip(missed, (NightlyCompositingConfig, NightlyCandidatesConfig), strict=True):
        name, _, value = shlex.split(command)[-1].partition("=")
        config = kind.model_validate_json(value.replace("NIGHT", "2026-11-26"))
        assert name == "config"
        assert (config.run_date, config.timezone) == (date(2026, 11, 26), "Europe/Berlin")


def test_the_nights_seed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    [command] = [each for each in COMMANDS if each.startswith("python -c")]
    exec(shlex.split(command)[2].replace("NIGHT", "2026-11-26"))
    assert int(capsys.readouterr().out) == night_seed(0, date(2026, 11, 26))


def test_the_sentences_quoted_are_said_by_the_code() -> None:
    code = "".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text())
        for room in ("tasks", "flows")
        for path in (ROOT / room).rglob("*.py")
    )
    for said in (
        "no discriminator is trained yet, so they wait for people",
        "the store refuses these credentials",
        "the store has not answered",
        "round.drifted",
    ):
        assert f"`{said}" in RUNBOOK
        assert said in code
