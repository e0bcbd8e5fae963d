"""One worker as its supervisor sees it: a process that is started, and started again when it ends."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import trio

from chronosdb.node.configuration.setting_sources import PREFIX
from chronosdb.node.configuration.settings import ConfigError
from chronosdb.node.workers.serving import SERVING, Serving

logger = logging.getLogger(__name__)

_COMMAND: Final = (sys.executable, "-m", "chronosdb.node.workers.worker")
_LINE_BYTES: Final = 4096
#: Before a worker is started again: twice as long after each that did not last.
_PAUSE_MIN_S: Final = 0.05
_PAUSE_MAX_S: Final = 30.0
_LASTING_S: Final = 10.0
#: A worker that was asked to stop does so within its own `shutdown_timeout`, and this.
_GRACE_S: Final = 5.0
_CONFIG_WRONG: Final = 2


class WorkerFailed(Exception):
    """A worker could not start, or did not stop in order; its own last line says why."""


class Supervised:
    """Keeps one worker running while `run` does."""

    def __init__(
        self, name: str, command: Callable[[str | None], Sequence[str]], patience_s: float
    ) -> None:
        self.name = name
        #: The flags of a worker that listens where it listened before, if it ever did.
        self._command = command
        self._patience_s = patience_s + _GRACE_S
        #: None while it does not serve.
        self.serving: Serving | None = None
        #: How often it was started again.
        self.restarts = 0
        #: Where it listens. Once known it stays, so that clients find it again.
        self.address: str | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it running until cancelled; then stop it. Started when it serves for the first time.

        Raises:
            WorkerFailed: it ended before it ever served, or failed while it was being stopped.
            ConfigError: so it did because of the configuration.
        """
        pause_s = _PAUSE_MIN_S
        code = await self._live(task_status)
        if self.address is None:
            raise _failure(self.name, code)
        while True:
            logger.error(
                "%s ended (%s); it is started again in %g s", self.name, _ending(code), pause_s
            )
            await trio.sleep(pause_s)
            self.restarts += 1
            began_s = trio.current_time()
            code = await self._live(trio.TASK_STATUS_IGNORED)
            lasted = trio.current_time() - began_s > _LASTING_S
            pause_s = _PAUSE_MIN_S if lasted else min(2 * pause_s, _PAUSE_MAX_S)

    async def _live(self, task_status: trio.TaskStatus[None]) -> int:
        """One process from its start to its end; its exit code."""
        command = [*_COMMAND, *self._command(self.address)]
        # A process group of its own: Ctrl-C is for the supervisor, who then stops it in order.
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            env=_environment(os.environ),
        )
        logger.debug("%s is process %d", self.name, process.pid)
        try:
            self.serving = await _announced(process)
            if self.serving is not None:
                self.address = self.serving.address
                logger.info("%s serves on %s", self.name, self.address)
                task_status.started()
            return await process.wait()
        finally:
            self.serving = None
            with trio.CancelScope(shield=True):
                await self._end(process)

    async def _end(self, process: trio.Process) -> None:
        """Stop it, if it runs, and wait until it is gone."""
        asked = process.returncode is None
        if asked:
            process.terminate()
        with trio.move_on_after(self._patience_s):
            await process.wait()
        if process.returncode is None:
            logger.warning("%s does not stop; it is killed, its log is safe as it is", self.name)
            process.kill()
        code = await process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            await pipe.aclose()
        if asked and code > 0:
            raise WorkerFailed(f"{self.name} failed while it stopped: its own lines say why")


async def _announced(process: trio.Process) -> Serving | None:
    """What a worker says when it serves; None if it ends instead."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        chunk = await process.stdout.receive_some(_LINE_BYTES)
        if not chunk or len(line) > _LINE_BYTES:
            return None
        line += bytes(chunk)
    try:
        return SERVING.decode(line)
    except msgspec.MsgspecError:
        return None


def _failure(name: str, code: int) -> Exception:
    text = f"{name} did not start: its own lines say why"
    return ConfigError([text]) if code == _CONFIG_WRONG else WorkerFailed(text)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings: a worker has all of them as flags."""
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
