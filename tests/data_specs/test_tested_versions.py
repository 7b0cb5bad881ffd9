"""The versions whose private parts we use: others are refused, and pip is asked for the same ones."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from data_specs.errors import VersionError
from data_specs.tested_versions import TESTED, require_tested

ROOT = Path(__file__).parents[2]
WHEN = "training"


@pytest.mark.parametrize(
    ("package", "found"),
    [("prefect", "3.9.2"), ("torch", "2.13.1"), ("accelerate", "1.16.0"), ("ultralytics", "8.5.0")],
)
def test_another_version_is_refused_in_one_sentence(package: str, found: str) -> None:
    with pytest.raises(VersionError) as error:
        require_tested(package, WHEN, found)
    sentence = str(error.value)
    assert sentence.startswith(f"training uses private parts of {package}: it was tested with {package}")
    assert f"{found} is installed" in sentence
    # The command at its end asks pip for what was tested.
    [command] = re.findall(r"`pip install '(.+)'`$", sentence)
    assert not Requirement(command).specifier.contains(found)
    assert "\n" not in sentence


@pytest.mark.parametrize("found", ["2.14.1", "2.14.1+cpu", "2.14.9+cu130"])
def test_builds_of_a_tested_version_are_accepted(found: str) -> None:
    require_tested("torch", WHEN, found)


def test_the_installed_versions_are_accepted() -> None:
    for package in ("prefect", "torch", "accelerate"):
        require_tested(package, WHEN)


def test_pip_is_asked_for_the_versions_that_were_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["yolo"]]
    wanted = {need.name: need.specifier for need in map(Requirement, lines)}
    assert {name: wanted[name] for name in TESTED} == {
        name: Requirement(name + versions).specifier for name, versions in TESTED.items()
    }


def test_the_versions_that_make_installs_are_among_them() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for package in TESTED:
        require_tested(package, WHEN, pins[package])
