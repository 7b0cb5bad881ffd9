"""Pages that people read first, the guides and the rest: each command of a block is one that can be typed."""

import re
import shlex
import subprocess

import pytest

from tests.deploy.written_commands import ROOT, blocks, read_command

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
COMMANDS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), part.strip())
        for page in PAGES
        if page.parent.name not in {"operations", "guides"}  # test_runbook.py and test_guides.py read those
        for line in blocks(page.read_text(encoding="utf-8"))
        for part in line.split("&&")
    }
)
SHELL = {"git", "cd", "source", "pip", "uv", "accelerate", "hf"}
"""Programs whose options are not looked at here."""


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_a_page_can_be_typed(page: str, command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "make dmeo",
        "cleanplate remov a.jpg b.png",
        "cleanplate cycle --round 3",
        ".venv/bin/pre-comit install",
    ],
)
def test_a_command_that_is_none_is_found(command: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        check(command)


def check(command: str) -> None:
    """Raises an error where a command is none; people's own files need not exist.

    Raises:
        Exception: The program's own, or ValueError.
    """
    words = [re.sub(r"^\.venv/bin/", "", word) for word in shlex.split(command)]
    if words[0] == "make":
        known = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, check=False)
        if known.returncode:
            raise ValueError(known.stderr.decode())
    elif words[0] == "python" and words[1].endswith(".py"):
        if not (ROOT / words[1]).is_file():
            raise ValueError(f"there is no {words[1]}")
    elif words == ["pre-commit", "install"] or words[0] in SHELL:
        return
    else:
        try:
            read_command(words)
        except Exception as error:  # typer's own class of a wrong parameter is not click's
            if "does not exist" not in str(error):
                raise


def test_the_examples_that_a_page_names_are_there() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"docs/examples/[\w.-]+\w", page.read_text(encoding="utf-8"))
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
