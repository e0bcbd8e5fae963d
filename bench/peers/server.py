"""The process of a peer's server, and the processes that it starts itself."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from bench.peers.peer import Peer

START_S_MAX: Final = 120.0
STOP_S_MAX: Final = 60.0
POLL_S: Final = 0.005

#: Where `python -m bench…` works.
ROOT: Final = Path(__file__).parents[2]


class Server:
    """One peer's server on a directory of its own; `stop` or `kill` ends it."""

    def __init__(self, peer: Peer, home: Path) -> None:
        self._peer = peer
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._helper: subprocess.Popen[bytes] | None = None

    def start(self, *, durable: bool) -> float:
        """Start on what is in the directory; the seconds until it served.

        Raises:
            BenchError: it ended instead, or took longer than `START_S_MAX`.
        """
        started_s = time.monotonic()
        with (self._home / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                self._peer.command(self._home, durable=durable),
                cwd=self._home,
                stdout=log,
                stderr=log,
                **as_owner(self._peer),
            )
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > started_s + START_S_MAX:
                self.kill()
                words = (self._home / "log.txt").read_text(errors="replace")[-500:]
                raise BenchError(f"{self._peer.name} did not start: {words}")
            time.sleep(POLL_S)
        took_s = time.monotonic() - started_s
        if (helper := self._peer.helper()) is not None:
            self._helper = subprocess.Popen(helper, cwd=ROOT)
        return took_s

    def stop(self) -> None:
        """Ask it to end, and wait; kill it if it does not."""
        assert self._process is not None, "start comes first"
        self._end_helper()
        # SIGINT is the fast way out for PostgreSQL, and a clean one for the others.
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it and its descendants as a crash would; also fine when it has ended."""
        self._end_helper()
        if self._process is None:
            return
        if self._process.poll() is None:
            for pid in reversed(_family(self._process.pid)):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self._process.wait()

    def rss_bytes(self) -> int:
        """Resident memory of all its processes; pages that they share are counted once."""
        assert self._process is not None, "start comes first"
        total = 0
        for pid in _family(self._process.pid):
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue  # It has ended since.
            total += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
        return total

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._helper.kill()
            self._helper.wait()

    def _serves(self) -> bool:
        try:
            self._peer.ping()
        except (OSError, BenchError):
            return False
        return True


def as_owner(peer: Peer) -> dict[str, Any]:
    """What to tell subprocess so that a program runs under the account that it insists on."""
    name = peer.owner()
    return {} if name is None else {"user": name, "group": pwd.getpwnam(name).pw_gid}


def _family(pid: int) -> list[int]:
    """A process and its descendants, ancestors first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found.extend(parents.get(one, []))
    return found
