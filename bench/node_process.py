"""A real `chronos-node`, in a process of its own."""

from __future__ import annotations

import selectors
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from bench.errors import BenchError

START_S_MAX: Final = 120.0
STOP_S_MAX: Final = 60.0

#: What the node prints before its address, once it serves.
_READY: Final = b" ready on "


class NodeProcess:
    """One run of a node on `directory`, with default settings but for ports and log level.

    As a context manager it kills the node when the block ends, unless it has ended before.
    """

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        """Starts the process, with further options, and waits until it serves.

        Raises:
            BenchError: it ended instead, or took longer than `START_S_MAX`.
        """
        self._errors = directory / "stderr.txt"
        started_s = time.monotonic()
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*_command(directory), *options], stdout=-1, stderr=errors
            )
        try:
            #: HOST:PORT for clients.
            self.address = self._await_address()
        except BaseException:
            self.kill()
            raise
        #: From the start of the process until it served.
        self.ready_s = time.monotonic() - started_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def stop(self) -> float:
        """Ask it to stop and wait; the seconds that took.

        Raises:
            BenchError: it did not stop, or not cleanly.
        """
        started_s = time.monotonic()
        self._process.terminate()
        try:
            code = self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchError(f"the node did not stop within {STOP_S_MAX:g} s") from None
        if code != 0:
            raise BenchError(f"the node exited with {code}: {self._last_words()}")
        return time.monotonic() - started_s

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); also fine when it has ended."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None, "stdout is a pipe"
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The process, if it runs."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Processor time it has used so far, all threads."""
        return cpu_s(self._process.pid)

    def rss_bytes(self) -> int:
        """Memory that is resident now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def _await_address(self) -> str:
        output = self._process.stdout
        assert output is not None, "stdout is a pipe"
        deadline_s = time.monotonic() + START_S_MAX
        while line := _line_before(output, deadline_s):
            if _READY in line:
                return line.partition(_READY)[2].strip().decode()
        raise BenchError(f"the node did not start: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._errors.read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:]) or "it wrote nothing to standard error"


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, all threads, to the microsecond.

    On Linux each process has a clock of its processor time, whose number is made of the pid
    (clock_getcpuclockid(3), which Python does not offer); /proc/PID/stat counts in steps of 10 ms.
    """
    return time.clock_gettime(~pid << 3 | 2)


def _command(directory: Path) -> list[str]:
    program = Path(sysconfig.get_path("scripts")) / "chronos-node"
    data_dir = str(directory / "data")
    options = ["--listen", "127.0.0.1:0", "--http", "off", "--log-level", "warning"]
    return [str(program), "--data-dir", data_dir, *options]


def _line_before(output: IO[bytes], deadline_s: float) -> bytes:
    """The next line; empty when there is none before the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        ready = selector.select(max(0.0, deadline_s - time.monotonic()))
    return output.readline() if ready else b""
