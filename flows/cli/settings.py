"""Settings from a JSON file, with what the command line names on top."""

import json
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from data_specs.errors import InputError
from flows.cli.options import no_pipe

Settings = TypeVar("Settings", bound=BaseModel)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A JSON file with any of the flow's settings.",
        exists=True,
        dir_okay=False,
        callback=no_pipe,
    ),
]


def configured(kind: type[Settings], path: Path | None, named: dict[str, object]) -> Settings:
    """Settings from a JSON file, with what the command line names on top.

    Raises:
        InputError: If the file cannot be read or is no JSON, or a setting is unknown or out of bounds.
    """
    given = _read(path) if path else {}
    unknown = sorted(set(given) - set(kind.model_fields))
    if unknown:
        raise InputError(path, f"unknown settings: {', '.join(unknown)}")
    try:
        return kind.model_validate({**given, **named})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(path or "settings", f"{place}: {first['msg']}") from error


def _read(path: Path) -> dict[str, object]:
    try:
        given = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # Not JSON, not UTF-8, or a number of thousands of digits.
        raise InputError(path, f"is no JSON ({error})") from error
    if not isinstance(given, dict):
        raise InputError(path, 'is no JSON object; write the settings as {"name": value}')
    return given
