"""The house rules that no linter knows: a true map, no machine's paths, no drawer for odds and ends."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAP_SCRIPT = runpy.run_path(str(ROOT / "tests" / "readme_map.py"))
ROOMS = ("data_specs", "models", "tasks", "flows", "deploy", "benchmarks")
# Spelt in pieces, or this file would be its own offender.
MACHINE_PATHS = re.compile(r"(?<![\w.}])/(?:" + "|".join(["work", "root", "opt/wheels", "opt/pypi"]) + r")/")


@pytest.fixture(scope="module")
def files() -> list[str]:
    return MAP_SCRIPT["tracked_files"](ROOT)


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def map_section(readme: str) -> str:
    return readme.split("<!-- map:start -->")[1].split("<!-- map:end -->")[0]


def test_the_map_names_exactly_the_files_there_are(files: list[str], readme: str) -> None:
    named = re.findall(r"^- \[[^]]+\]\(([^)]+)\) \S.*$", map_section(readme), flags=re.MULTILINE)
    there = [name for name in files if name.endswith(".py") and name.split("/")[0] in ROOMS]
    assert sorted(named) == sorted(there), "run `make map`"


def test_the_map_says_what_each_file_says_of_itself(readme: str) -> None:
    assert map_section(readme).strip() == MAP_SCRIPT["render_map"](ROOT), "run `make map`"


def test_every_link_of_the_readme_leads_to_a_file(readme: str) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", readme)
    assert targets, "the README links to nothing"
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_no_file_knows_the_machine_it_was_written_on(files: list[str]) -> None:
    offenders = []
    for name in files:
        content = (ROOT / name).read_bytes()
        if b"\0" not in content and MACHINE_PATHS.search(content.decode("utf-8", errors="replace")):
            offenders.append(name)
    assert offenders == []


def test_no_drawer_for_odds_and_ends(files: list[str]) -> None:
    names = {Path(name).name for name in files}
    assert names.isdisjoint({"utils.py", "util.py", "helpers.py", "misc.py", "common.py"})


def test_tests_hold_no_packages_that_would_shadow_the_rooms(files: list[str]) -> None:
    assert [name for name in files if name.startswith("tests/") and name.endswith("__init__.py")] == []


def test_one_way_rooms_are_a_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = settings["contracts"]
    assert contract["type"] == "layers"
    assert contract["layers"] == ["deploy", "flows", "tasks", "models", "data_specs"]


def test_every_direct_dependency_is_held_by_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    held = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    names = {re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names - held == set()


def test_a_map_entry_without_a_docstring_is_refused(tmp_path: Path) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"silent\.py: has no docstring"):
        MAP_SCRIPT["first_line"](silent)
