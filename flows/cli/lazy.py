"""Commands that are imported when they are called, so that `cleanplate --help` waits for none of them."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_COMPLETION = ("install_completion", "show_completion")
"""Options that typer gives to an app of its own, and that have no meaning below another."""


class LazyCommand(TyperCommand):
    """Stands for a command or group of another module: its name and line of help, until it is called."""

    def __init__(self, name: str, place: str, help_line: str) -> None:
        """``place``: ``module:attribute``, a ``typer.Typer``."""
        super().__init__(name, help=help_line)
        self._place = place

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The real command's context; from here on, typer deals with that one only."""
        module, attribute = self._place.split(":")
        real = typer.main.get_command(getattr(import_module(module), attribute))
        real.params = [each for each in real.params if each.name not in _COMPLETION]
        return real.make_context(info_name, args, parent=parent, **extra)


def lazy_group(commands: Sequence[LazyCommand]) -> type[TyperGroup]:
    """A group of these commands, in this order, beside those that it is given by decorators."""
    known = {str(command.name): command for command in commands}

    class LazyGroup(TyperGroup):
        """Lists the commands without importing them."""

        def list_commands(self, ctx: Any) -> list[str]:
            return [*known, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return known.get(cmd_name) or super().get_command(ctx, cmd_name)

        def main(self, *args: Any, **kwargs: Any) -> Any:
            """Ends with a sentence where standard output is full; where nobody reads it, without a word."""
            try:
                return super().main(*args, **kwargs)
            except OSError as error:
                from flows.cli.options import tell_lost_output

                tell_lost_output(error)
                sys.exit(1)

    return LazyGroup
