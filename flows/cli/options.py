"""What all commands share: the workspace, --json, and errors that people can read."""

import errno
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.text import Text

from data_specs.errors import CleanplateError, InputError, first_fault
from data_specs.plain_text import plain_text, visible

if TYPE_CHECKING:
    from tasks.storage.workspace import Workspace

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def workspace_folder(place: str | Path) -> Path:
    """The folder named, or for ``s3://bucket/prefix`` the one in the cache that stands for it."""
    if not str(place).startswith("s3:"):
        return Path(place)
    # Imported here: --help need not wait for the store's client.
    from tasks.storage.object_store import working_folder

    try:
        return working_folder(place)
    except CleanplateError as error:
        raise typer.BadParameter(str(error)) from error


def existing_workspace(folder: Path) -> "Workspace":
    """The workspace that is there; raises as ``Workspace.existing`` does."""
    # Imported here: --help need not wait for the ledger and the store.
    from tasks.storage.workspace import Workspace

    return Workspace.existing(folder)


WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        envvar="CLEANPLATE_WORKSPACE",
        parser=workspace_folder,
        metavar="DIR|s3://…",
        help="The folder with the ledger, the shards and the versions. Or s3://bucket/prefix: it needs "
        "the AWS_* variables, and CLEANPLATE_LEDGER with a ledger's address.",
    ),
]
LARGEST = 2**31 - 1
"""The largest whole number that every option takes: the largest that the ledger's columns hold."""

DEFAULT_WORKSPACE = Path("workspace")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")]

ProfileOption = Annotated[
    str | None,
    typer.Option(
        help="The profile that gives all settings that you leave out: tiny, full, or a JSON file. "
        "Default: --config, or tiny."
    ),
]


def _profile_that_exists(name: str) -> str:
    if name in ("tiny", "full"):
        return name
    from models.profiles import profile_of

    try:
        profile_of(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return name


ServedProfileOption = Annotated[
    str,
    typer.Option(
        envvar="CLEANPLATE_PROFILE",
        callback=_profile_that_exists,
        help="The profile of nights, retrainings, rounds and cycles: tiny, full, or a JSON file.",
    ),
]

SamplingProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="The profile whose sampling RORem's networks use: tiny, full, or a JSON file. Default: "
        "each network's own. Others ignore it.",
    ),
]

ProcessesOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="Number of processes on this machine that train together. Use one for each GPU. Default: "
        "--config, or 1.",
    ),
]


def distributed_settings(**given: object) -> dict[str, object]:
    """The command line's part of the settings of how trainings run. Empty if nothing of it is given."""
    changes = {name: value for name, value in given.items() if value is not None}
    return {"distributed": changes} if changes else {}


VersionOption = Annotated[
    int | None, typer.Option(min=1, max=LARGEST, help="Version of the dataset. Default: the current one.")
]


def no_pipe(path: Path | None) -> Path | None:
    """For ``callback=``: a pipe or a device in a file's place would be waited for without end.

    Raises:
        typer.BadParameter: When it is one.
    """
    if path is not None and path.exists() and not path.is_file() and not path.is_dir():
        raise typer.BadParameter(f"{path} is not a file; name a file")
    return path


def _one_line(reason: str) -> str:
    try:
        return plain_text(reason)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


ReasonOption = Annotated[
    str, typer.Option("--reason", callback=_one_line, help="The reason, in one sentence. It is recorded.")
]


def clear_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turns an error raised on purpose, or of a file that the system refuses, into a red sentence; exit 1."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except CleanplateError as error:
            _print_error(str(error))
            raise typer.Exit(1) from error
        except OSError as error:
            if error.filename is None:  # No file's; also a closed or full standard output.
                raise
            _print_error(f"{error.filename}: {error.strerror}; name another file, or repair this one")
            raise typer.Exit(1) from error

    return run


def with_groups(command: Callable[..., Result]) -> Callable[..., Result]:
    """Gives the command the fields of each parameter that is a dataclass, as options of their own.

    Options that several commands share then stand once, with their defaults. Typer sees the fields. The
    command gets the dataclass.
    """
    parameters = inspect.signature(command).parameters
    groups = {
        name: parameter.annotation
        for name, parameter in parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }
    shown = [
        field.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in parameters.items()
        for field in (inspect.signature(groups[name]).parameters.values() if name in groups else [parameter])
    ]

    @functools.wraps(command)
    def run(**given: Any) -> Result:
        built = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        return command(**given, **built)

    run.__signature__ = inspect.Signature(shown)  # pyright: ignore[reportAttributeAccessIssue]
    return run


def _print_error(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True).print(shown(f"cleanplate: {sentence}", "red"))


_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF)


def tell_lost_output(error: OSError) -> None:
    """Says that standard output takes no more, and lets Python end without writing there again.

    Raises:
        OSError: The error itself where standard output is not at fault.
    """
    if error.errno not in _NOT_WRITTEN:
        raise error
    try:
        os.write(sys.stdout.fileno(), b"\n")  # Asked of itself: Python forgets what it could not write.
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        raise error
    _print_error(f"standard output cannot be written ({error.strerror}); finished work is kept")


def shown(words: object, style: str = "") -> Text:
    """What people or files brought, for a table or a line: no markup is read, no control character obeyed."""
    return Text(visible(str(words)), style=style)


def print_json(value: Any) -> None:
    """One JSON object on standard output, and nothing else."""
    typer.echo(json.dumps(value, indent=2))


# Settings from a JSON file, with what the command line names on top.

Settings = TypeVar("Settings", bound=BaseModel)


def valid(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """Settings from a command's options.

    Raises:
        typer.BadParameter: If one of them is out of bounds: wrong settings are wrong use.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][-1]) if first["loc"] else "settings"
        raise typer.BadParameter(f"{where}: {first['msg']}") from error


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

    Args:
        kind: The settings' class.
        path: The JSON file.
        named: The command line's settings. None leaves a setting as it is. A dict changes a part of one.

    Raises:
        InputError: If the file cannot be read or is no JSON, or a setting is unknown or out of bounds.
    """
    given = _read(path) if path else {}
    unknown = sorted(set(given) - set(kind.model_fields))
    if unknown:
        raise InputError(path, f"unknown settings: {', '.join(unknown)}; remove them")
    for name, value in named.items():
        inside = given.get(name)
        if isinstance(value, dict) and isinstance(inside, dict):
            given[name] = {**inside, **value}
        elif value is not None:
            given[name] = value
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise InputError(path or "settings", first_fault(error).removeprefix("record: ")) from error


def _read(path: Path) -> dict[str, object]:
    try:
        given = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    except (ValueError, RecursionError) as error:  # Not JSON, not UTF-8, or a number of thousands of digits.
        raise InputError(path, f"is not JSON ({error}); correct the file") from error
    if not isinstance(given, dict):
        raise InputError(path, 'is not a JSON object; write the settings as {"name": value}')
    return given
