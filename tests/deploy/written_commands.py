"""Reads commands that files name as their programs would read them, without running what they do."""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from itertools import dropwhile
from pathlib import Path
from typing import Any

import typer
from prefect.cli._app import _app as prefect_app
from yaml import safe_load

from flows.cli.main import app

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
SYSTEM = {
    "cp", "df", "mv", "rm", "pip", "sqlite3", "kubectl", "nvidia-smi", "pg_isready", "pg_dump", "pg_restore",
}  # fmt: skip
"""Programs of others, whose options are not looked at."""


def blocks(markdown: str) -> list[str]:
    """The commands of a page's ``sh`` blocks, without comments."""
    found = re.findall(r"^```sh\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    lines = [
        line.split(" #")[0].strip() for block in found for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line and not line.startswith("#")]


def read_command(words: list[str]) -> None:
    """Raises an error where the words are no command of their program.

    Raises:
        Exception: The program's own, or ValueError.
    """
    words = list(dropwhile(re.compile(r"[A-Z_]+=").match, words))
    match words:
        case ["cleanplate", *rest]:
            _read_cleanplate(typer.main.get_command(app), rest)
        case ["prefect", *rest] | ["python", "-m", "deploy.process_worker", *rest]:
            prefect_app.parse_args(rest, exit_on_error=False, print_error=False)
        case ["ray", action, *rest]:
            _read_ray(action, rest)
        case ["docker", *rest]:
            _read_docker(rest)
        case ["export", *settings] if settings and all(re.match(r"[A-Z_]+=", each) for each in settings):
            pass
        case ["python", "-m", module, *_]:
            if find_spec(module) is None:
                raise ValueError(f"there is no module {module}")
        case ["python", "-c", code]:
            compile(code, "docs", "exec")
        case [program, *_] if program in SYSTEM:
            pass
        case _:
            raise ValueError(f"{shlex.join(words)} is nobody's command")


def _read_cleanplate(command: Any, words: list[str], parent: Any = None) -> None:
    """Options, arguments and their types, down to the command itself; click's errors are passed on."""
    context = command.make_context(command.name, list(words), parent=parent)
    real = context.command
    if hasattr(real, "resolve_command"):
        left = [*context._protected_args, *context.args]
        _, inner, rest = real.resolve_command(context, left)
        _read_cleanplate(inner, rest, context)


def _read_ray(action: str, rest: list[str]) -> None:
    """By its own help: imported here, it would stay in the other tests' way."""
    program = Path(sys.executable).with_name("ray")
    help_text = subprocess.run([program, action, "--help"], capture_output=True, text=True, check=True).stdout
    unknown = [word for word in rest if word.startswith("--") and f"{word} " not in f"{help_text} "]
    if unknown:
        raise ValueError(f"ray {action} knows no {unknown}")


def _read_docker(words: list[str]) -> None:
    match words:
        case ["compose", "--file", file, action, *rest]:
            _read_compose(file, action, rest)
        case ["network", "inspect", name, "--format", _]:
            _check_network(name)
        case _:
            raise ValueError(f"docker {shlex.join(words)} is not used here")


def _read_compose(file: str, action: str, rest: list[str]) -> None:
    services = safe_load((ROOT / file).read_text())["services"]
    named = [word for word in rest if not word.startswith("-") and not word.isdigit()]
    if action not in ("build", "up", "logs", "restart", "exec"):
        raise ValueError(f"docker compose {action} is not used here")
    unknown = named[:1] if action == "exec" else named
    if set(unknown) - set(services):
        raise ValueError(f"{file} has no service {unknown}")


def _check_network(name: str) -> None:
    project = safe_load(COMPOSE.read_text())["name"]
    if name != f"{project}_default":
        raise ValueError(f"{COMPOSE.name} makes no network {name}")
