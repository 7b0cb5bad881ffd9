"""uv.lock says what pyproject.toml and constraints.txt say, and names no registry but PyPI."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPI = {"https://pypi.org/simple"}


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "uv.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def packages(text: str) -> list[dict[str, Any]]:
    return tomllib.loads(text)["package"]


def test_the_lock_has_the_versions_that_were_tested_together(packages: list[dict[str, Any]]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    tested = {canonicalize_name(name): version for name, version in pinned.items()}
    differ = [
        (each["name"], each["version"])
        for each in packages
        if each["version"] != tested.get(each["name"], each["version"])
    ]
    assert differ == [], "lock again, as constraints.txt says"
    assert len({each["name"] for each in packages} & set(tested)) > 200


def test_the_lock_has_the_requirements_that_are_stated(packages: list[dict[str, Any]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    stated = {
        (extra, canonicalize_name(asked.name), frozenset(asked.extras), asked.specifier)
        for extra, lines in groups.items()
        for asked in map(Requirement, lines)
    }
    [own] = [each for each in packages if each["name"] == project["name"]]
    locked = {
        (
            "".join(re.findall(r"extra == '([\w-]+)'", each.get("marker", ""))),
            each["name"],
            frozenset(each.get("extras", ())),
            SpecifierSet(each.get("specifier", "")),
        )
        for each in own["metadata"]["requires-dist"]
    }
    assert locked == stated, "lock again, as constraints.txt says"


def test_the_lock_names_pypi_alone(text: str, packages: list[dict[str, Any]]) -> None:
    sources = [each["source"] for each in packages if each["name"] != "cleanplate"]
    assert {source.get("registry") for source in sources} == PYPI
    assert set(re.findall(r'url = "(https?://[^/]+)', text)) == {"https://files.pythonhosted.org"}
