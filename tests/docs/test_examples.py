"""docs/examples: every config file that a page names is there and valid, and the programs run."""

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flows.nightly.nights import night_seed
from flows.rorem.train_remover import RemoverTrainingConfig
from models.profiles import PROFILES
from tests.reference.code import ROOT
from tests.reference.config import commands_with_config

EXAMPLES = ROOT / "docs" / "examples"
FILES = sorted(path.name for path in EXAMPLES.glob("*.json"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
_USED = re.compile(r"(cleanplate [^\n`|]*?)--config[ =](\S+?\.json)")
_NAMED = re.compile(r"docs/examples/([\w.-]+)")


def uses() -> list[tuple[str, str, str]]:
    """(page, command, file) of every `--config FILE` on a page."""
    return [
        (page.relative_to(ROOT).as_posix(), words, Path(file).name)
        for page in PAGES
        for words, file in _USED.findall(page.read_text(encoding="utf-8").replace("\\\n", " "))
    ]


def config_of(words: str) -> type[BaseModel]:
    """The class that a command reads from its `--config` file."""
    known = commands_with_config()
    return known[max((name for name in known if f"{words} ".startswith(f"{name} ")), key=len)]


def read(file: str, kind: type[BaseModel]) -> BaseModel:
    """The file as the command reads it; a key that no part of the config has is an error."""
    given = json.loads((EXAMPLES / file).read_text(encoding="utf-8"))
    # The command line names the workspace itself.
    config = kind.model_validate({"workspace": "workspace", **given})
    assert unknown_keys(given, config.model_dump(mode="json")) == []
    return config


def unknown_keys(given: Any, dumped: Any, place: str = "") -> list[str]:
    """The keys of a file that its config does not have."""
    if not isinstance(given, dict):
        return []
    missing = [f"{place}{key}" for key in given if key not in dumped]
    inner = ((key, each) for key, each in given.items() if key in dumped)
    return missing + [
        name for key, each in inner for name in unknown_keys(each, dumped[key], f"{place}{key}.")
    ]


@pytest.mark.parametrize(("page", "words", "file"), uses())
def test_a_config_file_that_a_page_names_is_there_and_valid(page: str, words: str, file: str) -> None:
    assert file in FILES, f"{page} names {file}"
    read(file, config_of(words))


def test_every_config_file_is_named_on_a_page() -> None:
    assert {file for _, _, file in uses()} == set(FILES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_an_example_that_a_page_names_is_there(page: Path) -> None:
    named = _NAMED.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (EXAMPLES / name.rstrip(".")).exists()] == []


def test_a_key_that_no_config_has_is_found() -> None:
    assert unknown_keys({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1}}) == ["d", "a.c"]


def test_the_full_size_is_the_profiles() -> None:
    config = read("full-size.json", RemoverTrainingConfig)
    assert isinstance(config, RemoverTrainingConfig)
    full = PROFILES["full"]
    assert config.training == full.remover
    assert config.loss == full.remover_loss
    assert config.sampling == full.sampling
    assert config.distributed == full.distributed


def test_the_small_one_changes_only_what_saves_memory() -> None:
    given = json.loads((EXAMPLES / "small.json").read_text(encoding="utf-8"))
    config = RemoverTrainingConfig.model_validate({"workspace": "x", "profile": "full", **given})
    full = PROFILES["full"]
    saving = {"micro_batch_size": 1, "optimizer": "adamw_8bit"}
    assert config.distributed == full.distributed.model_copy(update=saving)
    assert config.training == full.remover


def test_the_nights_seed_is_that_of_the_date_on_the_page() -> None:
    given = json.loads((EXAMPLES / "night.json").read_text(encoding="utf-8"))
    assert given["compositing"]["seed"] == night_seed(0, date(2026, 11, 26))
    assert "2026-11-26" in (EXAMPLES / "index.md").read_text(encoding="utf-8")


def run(program: str, folder: Path) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_objectclears_program_makes_a_dataset(tmp_path: Path) -> None:
    said = run("objectclear_dataset.py", tmp_path)
    numbers = {word: int(number) for number, word in re.findall(r"^(\d+) (\S+)", said, re.MULTILINE)}
    assert min(numbers["cut-outs"], numbers["plates"], numbers["composites"]) > 0
    assert numbers["rows"] == numbers["composites"]
    assert len(list((tmp_path / "ober" / "data").glob("train-*.parquet"))) == 1


@pytest.mark.slow
def test_rorems_program_goes_through_all_stages(tmp_path: Path) -> None:
    said = run("rorem_round.py", tmp_path)
    for phase in ("initialisation", "human 1", "automation 1"):
        assert re.search(rf"^{phase}: success \d+\.\d%, PSNR \d+\.\d dB$", said, re.MULTILINE)
    human = re.search(r"^human 1: (\d+) of 80 candidates accepted$", said, re.MULTILINE)
    assert human is not None
    assert 0 < int(human[1]) <= 40
    assert re.search(r"^automation 1: \d+ of 80 candidates accepted$", said, re.MULTILINE)
