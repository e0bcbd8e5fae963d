"""`chronos`: finds the command, runs it, and turns whatever ends it into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NoReturn

import click
from click.shell_completion import shell_complete

from chronosdb.client.cli.completion import COMPLETION_VARIABLE
from chronosdb.client.cli.context import shared_options
from chronosdb.client.cli.exits import Exit, Failure, outcome
from chronosdb.client.cli.output import printable

_PLUGINS: Final = "chronosdb.commands"
_PACKAGE: Final = "chronosdb.client.cli"
_BUILT_IN: Final = (
    EntryPoint("topic", f"{_PACKAGE}.topic:topic", _PLUGINS),
    EntryPoint("publish", f"{_PACKAGE}.publish:publish", _PLUGINS),
    EntryPoint("consume", f"{_PACKAGE}.consume:consume", _PLUGINS),
    EntryPoint("replay", f"{_PACKAGE}.replay:replay", _PLUGINS),
    EntryPoint("get", f"{_PACKAGE}.get:get", _PLUGINS),
    EntryPoint("pending", f"{_PACKAGE}.pending:pending", _PLUGINS),
    EntryPoint("group", f"{_PACKAGE}.group:group", _PLUGINS),
    EntryPoint("dlq", f"{_PACKAGE}.dlq:dlq", _PLUGINS),
    EntryPoint("schedule", f"{_PACKAGE}.schedule:schedule", _PLUGINS),
    EntryPoint("top", f"{_PACKAGE}.top:top", _PLUGINS),
    EntryPoint("bench", f"{_PACKAGE}.bench:bench", _PLUGINS),
    EntryPoint("cluster", f"{_PACKAGE}.cluster:cluster", _PLUGINS),
    EntryPoint("completion", f"{_PACKAGE}.completion:completion", _PLUGINS),
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, from here or from a plug-in.

    Packages above this one (the node) register theirs in the entry point group `chronosdb.commands`.
    """

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Built-in commands first, then plug-ins by name."""
        return list(_found())

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; one that cannot be imported says so when it is called, and spoils no other."""
        entry = _found().get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except (ImportError, AttributeError) as error:
            return _unavailable(cmd_name, error)
        assert isinstance(command, click.Command)
        return command


def main() -> NoReturn:
    """Entry point of the `chronos` script."""
    for stream in (sys.stdout, sys.stderr):
        # A locale that lacks a character must not end a command half-way.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = run(sys.argv[1:])
    if code == Exit.BROKEN_PIPE:
        # Nobody reads stdout any more, and the interpreter would complain when it flushes it.
        os._exit(code)
    sys.exit(code)


def run(argv: Sequence[str], **overrides: Any) -> int:
    """Run `chronos` with these arguments. `overrides` replace fields of `App` (for tests)."""
    try:
        _invoke(argv, overrides)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001 - the border
        code, message = outcome(error)
        if message:
            sys.stderr.write(f"error: {printable(message)}\n")
        return code
    return Exit.OK


@click.group(
    cls=LazyGroup,
    params=shared_options(environment=True),
    invoke_without_command=True,
)
@click.version_option(package_name="chronosdb")
@click.pass_context
def chronos(context: click.Context) -> None:
    """Publish events that fire at their time, and consume them.

    --server, --timeout and --json may also be written after the command.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _invoke(argv: Sequence[str], overrides: dict[str, Any]) -> None:
    """What `chronos.main` does, except that it would turn errors and exit codes into its own."""
    if asked := os.environ.get(COMPLETION_VARIABLE):
        shell_complete(chronos, {}, "chronos", COMPLETION_VARIABLE, asked)
        return
    with chronos.make_context("chronos", list(argv), obj=overrides) as context:
        chronos.invoke(context)


def _found() -> Mapping[str, EntryPoint]:
    plugins = sorted(entry_points(group=_PLUGINS), key=lambda entry: entry.name)
    built_in = {entry.name: entry for entry in _BUILT_IN}
    return built_in | {entry.name: entry for entry in plugins if entry.name not in built_in}


def _unavailable(name: str, error: Exception) -> click.Command:
    def refuse() -> NoReturn:
        raise Failure(f'"{name}" is not available here: {error}')

    return click.Command(name, callback=refuse, short_help=f"(not available: {error})")
