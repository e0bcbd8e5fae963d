"""One worker: an ordinary node whose log lines say which it is, and which ends with its supervisor.

`python -m chronosdb.node.workers.worker`, started by the supervisor and by nobody else. Standard input
is a pipe that nothing is ever written to; standard output takes one line, once the worker serves.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys

import msgspec

from chronosdb.node import garbage
from chronosdb.node.configuration.config import Config, node_command
from chronosdb.node.main import live
from chronosdb.node.node import Node, Started
from chronosdb.node.workers.serving import Serving


class _Announcement:
    def started(self, value: Started | None = None) -> None:
        """See `trio.TaskStatus.started`."""
        assert value is not None
        garbage.keep_what_there_is()
        line = msgspec.json.encode(Serving(value.address, value.http))
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


def main() -> None:
    """Entry point of a worker."""
    end_with(sys.stdin.fileno())
    node_command(_run)()


def end_with(pipe: int) -> None:
    """Let the kernel end this process as soon as nobody holds the other end of a pipe any more.

    At once, and not in order: what was acknowledged is on disk, and whoever starts the next
    supervisor wants the ports and directories. By a signal that nobody handles, so that it also works
    while the event loop does not run. Not by PR_SET_PDEATHSIG: it goes by the life of the *thread*
    that started us.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_ASYNC)
    # It may have happened before. Nothing is ever written, so readable means closed.
    if select.select([pipe], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGIO)


def _run(config: Config) -> None:
    live(config, lambda: Node(config), _Announcement(), speaker=config.node_id)


if __name__ == "__main__":
    main()
