"""Exit codes, and what the user can do about each error."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import click

from chronosdb.wire.errors import ChronosError


class Exit(IntEnum):
    """What `chronos` tells the shell."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    CONFLICT = 5
    TRY_AGAIN = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Failure(click.ClickException):
    """The command cannot do what was asked; the message says why and what to do."""

    def __init__(self, message: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(message)
        self.code = code


#: By `ChronosError.code`: the exit code, and advice that the error itself cannot give.
_ADVICE: Final[dict[str, tuple[Exit, str]]] = {
    "invalid_argument": (Exit.USAGE, ""),
    "not_found": (Exit.NOT_FOUND, '"chronos topic list" shows the topics'),
    "connection_lost": (
        Exit.UNREACHABLE,
        "start a node with chronos-node, or name a running one with --server HOST:PORT",
    ),
    "conflict": (Exit.CONFLICT, ""),
    "timeout": (Exit.TRY_AGAIN, "try again, or allow more time with --timeout SECONDS"),
    "overloaded": (Exit.TRY_AGAIN, "try again later"),
    "not_leader": (Exit.TRY_AGAIN, "try again"),
}


def outcome(error: BaseException) -> tuple[Exit, str]:
    """The exit code for what ended a command, and the line to print (empty: nothing)."""
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, (KeyboardInterrupt, click.Abort)):
            return Exit.INTERRUPTED, ""
        if isinstance(cause, BrokenPipeError):
            return Exit.BROKEN_PIPE, ""
    return _explain(causes[0])


def _explain(error: BaseException) -> tuple[Exit, str]:
    match error:
        case click.UsageError(ctx=context):
            path = context.command_path if context else "chronos"
            return Exit.USAGE, f'{error.format_message()} "{path} --help" tells more.'
        case Failure(code=code):
            return code, error.message
        case click.ClickException():
            return Exit(error.exit_code), error.format_message()
        case ChronosError(code=code, message=message):
            exit_code, advice = _ADVICE.get(code, (Exit.ERROR, ""))
            return exit_code, f"{message}; {advice}" if advice else message
        case OSError():
            return Exit.ERROR, str(error)
        case _:
            return Exit.ERROR, f"bug in chronos, please report it: {type(error).__name__}: {error}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors that a task group may have wrapped, in groups of groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
