"""The command as a whole: finding sub-commands, and ending well as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from chronosdb.client import TopicInfo
from chronosdb.client.cli import app
from chronosdb.client.cli.app import chronos, run
from chronosdb.client.cli.exits import Exit
from chronosdb.node.configuration.setting_sources import COMMAND_VARIABLES
from tests.cli.fake_broker import FakeBroker

CHRONOS = str(Path(sys.executable).parent / "chronos")


def test_help_lists_commands_of_every_package(capsys: pytest.CaptureFixture[str]) -> None:
    """Built-in commands and those that the node registers stand side by side."""
    assert run(["--help"]) == Exit.OK
    out = capsys.readouterr().out
    for name in ("topic", "publish", "consume", "get", "completion", "log"):
        assert f"\n  {name} " in out


def test_no_command_means_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`chronos` alone shows what there is; a group alone is wrong usage."""
    assert run([]) == Exit.OK
    assert "Commands:" in capsys.readouterr().out
    assert run(["topic"]) == Exit.USAGE
    assert capsys.readouterr().err == 'error: Missing command. "chronos topic --help" tells more.\n'


def test_a_command_that_cannot_be_loaded_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is listed as not available, and says why when called."""
    broken = EntryPoint("broken", "chronosdb.no_such_module:x", "chronosdb.commands")
    monkeypatch.setattr(app, "entry_points", lambda **_: [broken])
    assert run(["--help"]) == Exit.OK
    assert "broken      (not available:" in capsys.readouterr().out
    assert run(["broken"]) is Exit.ERROR
    assert 'error: "broken" is not available here: No module' in capsys.readouterr().err


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with the way to the list."""
    assert run(["topics"]) is Exit.USAGE
    assert capsys.readouterr().err.startswith("error: No such command 'topics'.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    """Each shell gets a script that calls chronos back."""
    result = CliRunner().invoke(chronos, ["completion", shell])
    assert result.exit_code == 0
    assert "_CHRONOS_COMPLETE" in result.stdout


def test_the_node_leaves_our_variables_alone() -> None:
    """Every variable that a shared option reads is one that chronos-node does not take for its own."""
    ours = {str(param.envvar) for param in chronos.params if param.envvar}
    assert ours == COMMAND_VARIABLES - {"CHRONOS_CONFIG"}


@pytest.mark.slow
def test_a_real_process_without_a_node() -> None:
    """One line on stderr, exit code 4, no traceback."""
    argv = [CHRONOS, "--server", "127.0.0.1:1", "--timeout", "0.2", "topic", "list"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode in (Exit.UNREACHABLE, Exit.TRY_AGAIN)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_closed_pipe_is_silent() -> None:
    """Whoever reads our output may go away at any time."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [CHRONOS, "--help"], stdout=closed, stderr=subprocess.PIPE, check=False, timeout=30
        )
    assert (done.returncode, done.stderr) == (Exit.BROKEN_PIPE, b"")


def test_an_interrupt_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends a command that waits for stdin, at once and with 130."""

    class Interrupting(FakeBroker):
        async def topic(self, name: str) -> TopicInfo:
            signal.raise_signal(signal.SIGINT)
            return await super().topic(name)

    broker = Interrupting()
    run(["topic", "create", "orders"], connect=broker.connect)
    reader, writer = os.pipe()
    # Closing the writer lets the abandoned thread end.
    with os.fdopen(reader) as stdin, os.fdopen(writer, "w"):
        monkeypatch.setattr(sys, "stdin", stdin)
        code = run(["publish", "orders", "--file", "-"], connect=broker.connect)
    assert code is Exit.INTERRUPTED
    assert capsys.readouterr().err == ""
