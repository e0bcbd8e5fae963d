"""Whatever ends a command becomes an exit code and at most one line."""

from __future__ import annotations

import click
import pytest

from chronosdb.client.cli.exits import Exit, Failure, outcome
from chronosdb.wire.errors import (
    AuthError,
    ChronosError,
    Conflict,
    ConnectionLost,
    InvalidArgument,
    NotFound,
    Overloaded,
    Timeout,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), Exit.NOT_FOUND),
        (ConnectionLost("x"), Exit.UNREACHABLE),
        (Conflict("x"), Exit.CONFLICT),
        (Timeout("x"), Exit.TRY_AGAIN),
        (Overloaded("x"), Exit.TRY_AGAIN),
        (InvalidArgument("x"), Exit.USAGE),
        (AuthError("x"), Exit.ERROR),
        (ChronosError("x"), Exit.ERROR),
        (Failure("x", Exit.CONFLICT), Exit.CONFLICT),
        (click.UsageError("x"), Exit.USAGE),
        (OSError(2, "x"), Exit.ERROR),
        (ZeroDivisionError("x"), Exit.ERROR),
    ],
)
def test_each_error_has_its_code_and_a_message(error: Exception, code: Exit) -> None:
    """The code is for scripts, the message for people."""
    found, message = outcome(error)
    assert found is code
    assert "x" in message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (click.Abort(), Exit.INTERRUPTED),
        (BrokenPipeError(), Exit.BROKEN_PIPE),
    ],
)
def test_what_the_user_did_needs_no_words(error: BaseException, code: Exit) -> None:
    """Ctrl-C and a closed pipe end the command without a message."""
    assert outcome(error) == (code, "")


def test_task_groups_hide_nothing() -> None:
    """An error wrapped in groups is the error; an interrupt among others is an interrupt."""
    wrapped = BaseExceptionGroup("", [BaseExceptionGroup("", [NotFound("x")])])
    assert outcome(wrapped) == outcome(NotFound("x"))
    both = BaseExceptionGroup("", [NotFound("x"), KeyboardInterrupt()])
    assert outcome(both) == (Exit.INTERRUPTED, "")


def test_a_bug_is_called_a_bug() -> None:
    """An error that nobody expected names itself and asks for a report."""
    assert "please report it: ZeroDivisionError: x" in outcome(ZeroDivisionError("x"))[1]
