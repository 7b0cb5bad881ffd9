"""The project's rules that no linter knows: a true map, links that lead somewhere, no machine's paths."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAP_SCRIPT = runpy.run_path(str(ROOT / "tests" / "code_map.py"))
CODE_MAP = ROOT / "docs" / "development" / "code-map.md"
LAYERS = ("data_specs", "models", "tasks", "flows", "deploy")
# Spelt in pieces, or this file would be its own offender.
MACHINE_PATHS = re.compile(r"(?<![\w.}])/(?:" + "|".join(["work", "root", "opt/wheels", "opt/pypi"]) + r")/")
MAX_README_BYTES = 10_000


@pytest.fixture(scope="module")
def files() -> list[str]:
    return MAP_SCRIPT["tracked_files"](ROOT)


def test_the_map_names_exactly_the_files_there_are(files: list[str]) -> None:
    page = CODE_MAP.read_text(encoding="utf-8")
    named = re.findall(r"^- `([^`]+)`: \S", page, flags=re.MULTILINE)
    folders = re.findall(r"^#{2,3} `([^`]+)/`$", page, flags=re.MULTILINE)
    packages = [f"{folder}/__init__.py" for folder in folders if (ROOT / folder / "__init__.py").exists()]
    mapped = MAP_SCRIPT["PACKAGES"]
    expected = [name for name in files if name.endswith(".py") and name.split("/")[0] in mapped]
    assert sorted([*named, *packages]) == sorted(expected), "run `make map`"


def test_the_map_says_what_each_file_says_of_itself() -> None:
    assert CODE_MAP.read_text(encoding="utf-8") == MAP_SCRIPT["render_map"](ROOT), "run `make map`"


def test_the_readme_is_short_and_holds_no_map() -> None:
    readme = (ROOT / "README.md").read_bytes()
    assert len(readme) <= MAX_README_BYTES
    assert b"map:start" not in readme


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "deploy/README.md"]
)
def test_every_link_of_a_page_outside_of_the_site_leads_to_a_file(page: str) -> None:
    """Links between the pages of the site are held by `make docs`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []
    assert targets or page == "SECURITY.md", f"{page} links to nothing"


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


def test_tests_hold_no_packages_that_would_shadow_the_code(files: list[str]) -> None:
    assert [name for name in files if name.startswith("tests/") and name.endswith("__init__.py")] == []


def test_the_order_of_layers_and_of_their_folders_is_a_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers, tasks, models = settings["contracts"]
    assert {contract["type"] for contract in settings["contracts"]} == {"layers"}
    assert layers["layers"] == list(reversed(LAYERS))
    for contract, package in ((tasks, "tasks"), (models, "models")):
        assert contract["containers"] == [package]
        assert contract["exhaustive"], "a new folder would be in no order"
        assert {"rorem", "objectclear"} in [set(layer.split(" | ")) for layer in contract["layers"]]
        assert "ignore_imports" not in contract


def test_every_direct_dependency_is_held_by_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["docs"]]
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
