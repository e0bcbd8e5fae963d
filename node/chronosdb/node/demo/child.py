"""A real node in a process of its own: started, killed, stopped, started again on the same address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

import trio

from chronosdb.client.cli.exits import Failure

_NODE: Final = (sys.executable, "-m", "chronosdb.node")
#: Ends the line by which a node says that it serves.
_READY: Final = b" ready on "
_ANY_PORT: Final = "127.0.0.1:0"
_READ_BYTES: Final = 4096


class NodeDied(Failure):
    """A node ended before it served; `node_code` is its exit code, the message what it said."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"the node ended with exit code {code}: {said.strip() or 'no word'}")
        self.node_code = code


class NodeStuck(Failure):
    """A node neither served nor ended in time; it was killed."""


class NodeProcess:
    """One node at a time on one data directory. Use `async with`: no process outlives the block.

    What the node writes to standard error is appended to `log`. `wrapper` goes before the command
    and must put the node in its own place (as `exec` does), so that signals reach the node.
    """

    def __init__(
        self,
        data_dir: Path,
        log: Path,
        options: Sequence[str] = (),
        *,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.data_dir = data_dir
        self.log = log
        self.options = tuple(options)
        self.wrapper = tuple(wrapper)
        #: Where clients connect. Once known it stays, so that they find the node again.
        self.address = _ANY_PORT
        self._process: trio.Process | None = None
        #: Where in the log the words of the process that was started last begin.
        self._said_from = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self.kill()

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process now."""
        return self._process is not None and self._process.returncode is None

    async def start(self, timeout_s: float = 30.0) -> None:
        """Start the node; returns when it serves.

        Raises:
            NodeDied: it ended instead.
            NodeStuck: neither within `timeout_s`.
        """
        await self.launch()
        with trio.move_on_after(timeout_s):
            await self.serving()
            return
        await self.kill()
        raise NodeStuck(f"the node did not serve within {timeout_s:g} s: {self.said().strip()}")

    async def launch(self) -> None:
        """Start the process without waiting for anything it does."""
        assert not self.running
        with self.log.open("ab") as log:
            self._said_from = log.tell()
            self._process = await _open(self._command(), log.fileno())

    async def serving(self) -> None:
        """Wait until a launched node serves; raises NodeDied."""
        assert self._process is not None
        output = self._process.stdout
        assert output is not None
        line = b""
        while not line.endswith(b"\n"):
            chunk = await output.receive_some(_READ_BYTES)
            if not chunk:
                raise NodeDied(await self._process.wait(), self.said())
            line += bytes(chunk)
        self.address = line.partition(_READY)[2].decode().strip()

    async def kill(self) -> None:
        """Kill -9, if there is anything to kill; returns when it is gone."""
        if self.running:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()
        await self._forget_output()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the running node."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        """Ask the node to stop; its exit code. Raises NodeStuck if it goes on."""
        self.send(number)
        return await self.ended(timeout_s)

    async def ended(self, timeout_s: float = 15.0) -> int:
        """Wait for the node to end by itself; its exit code (minus the signal, if one killed it).

        Raises:
            NodeStuck: it goes on.
        """
        assert self._process is not None
        with trio.move_on_after(timeout_s):
            code = await self._process.wait()
            await self._forget_output()
            return code
        await self.kill()
        raise NodeStuck(f"the node did not end within {timeout_s:g} s: {self.said().strip()}")

    def said(self) -> str:
        """What the process that was started last wrote to standard error."""
        return self.log.read_bytes()[self._said_from :].decode(errors="replace")

    def _command(self) -> list[str]:
        places = ("--data-dir", str(self.data_dir), "--listen", self.address)
        return [*self.wrapper, *_NODE, *places, *self.options]

    async def _forget_output(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            await self._process.stdout.aclose()


async def _open(command: Sequence[str], stderr: int) -> trio.Process:
    start = partial(trio.lowlevel.open_process, stdout=subprocess.PIPE, stderr=stderr)
    return await start(command, stdin=subprocess.DEVNULL, env=_environment(os.environ))


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings for a node: those are flags here."""
    return {name: value for name, value in environ.items() if not name.startswith("CHRONOS_")}
