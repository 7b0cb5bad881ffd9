"""Settings from a JSON file, with what the command line names on top."""

import json
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from data_specs.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A JSON file with any of the flow's settings.", exists=True)
]


def configured(kind: type[Settings], path: Path | None, named: dict[str, object]) -> Settings:
    """Settings from a JSON file, with what the command line names on top.

    Raises:
        InputError: If the file is no JSON, or a setting is unknown or out of bounds.
    """
    try:
        given = json.loads(path.read_text()) if path else {}
        unknown = sorted(set(given) - set(kind.model_fields))
        if unknown:
            raise InputError(path, f"unknown settings: {', '.join(unknown)}")
        return kind.model_validate({**given, **named})
    except json.JSONDecodeError as error:
        raise InputError(path, f"is no JSON ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(path or "settings", f"{place}: {first['msg']}") from error
