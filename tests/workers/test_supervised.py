"""One worker under supervision, played by scripts that start in no time."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import trio

from chronosdb.node.configuration.config import ConfigError
from chronosdb.node.workers import supervised
from chronosdb.node.workers.supervised import Supervised, WorkerFailed

#: Says that it serves, and where it was told to listen.
SERVES = """
import json, sys
print(json.dumps({"address": sys.argv[1], "http": None}), flush=True)
"""
STAYS = "import time; time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Worker(Supervised):
    """Runs a script instead of a node."""

    def __init__(self, *lines: str) -> None:
        super().__init__("worker-1", lambda before: [before or "127.0.0.1:7"], 0.0)
        self.lines = lines

    def command(self) -> tuple[str, ...]:
        """What is started in place of a worker."""
        return (sys.executable, "-S", "-c", "\n".join(self.lines))


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Worker]:
    """Makes a worker of these lines."""

    def make(*lines: str) -> Worker:
        worker = Worker(*lines)
        monkeypatch.setattr(supervised, "_COMMAND", worker.command())
        monkeypatch.setattr(supervised, "_GRACE_S", 0.1)
        return worker

    return make


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["raise SystemExit(1)"], WorkerFailed),
        (["raise SystemExit(2)"], ConfigError),
        (["print('what?')"], WorkerFailed),
        (["raise SystemExit(0)"], WorkerFailed),
    ],
)
async def test_one_that_never_served_is_not_tried_again(
    play: Callable[..., Worker], lines: list[str], error: type[Exception]
) -> None:
    """Whoever started it learns so, and whether the configuration was the reason."""
    worker = play(*lines)
    with pytest.raises(error, match="worker-1 did not start: its own lines say why"):
        await worker.run()
    assert worker.restarts == 0


async def test_one_that_ends_is_started_again_where_it_was(play: Callable[..., Worker]) -> None:
    """The pauses grow as long as it does not last, and it serves only while it runs."""
    worker = play(SERVES)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            while worker.restarts < 2:  # noqa: ASYNC110 - it tells nobody but the log
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert worker.address == "127.0.0.1:7"
    assert worker.serving is None


async def test_one_that_is_asked_to_stop_is_gone_when_run_returns(
    play: Callable[..., Worker],
) -> None:
    """Ended by SIGTERM is in order."""
    worker = play(SERVES, STAYS)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        assert worker.serving is not None
        nursery.cancel_scope.cancel()
    assert worker.serving is None


async def test_one_that_fails_while_it_stops_is_told(play: Callable[..., Worker]) -> None:
    """As a node alone would, by its exit code."""
    failing = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))"
    worker = play("import sys", failing, SERVES, STAYS)
    with pytest.RaisesGroup(pytest.RaisesExc(WorkerFailed, match="failed while it stopped")):
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            nursery.cancel_scope.cancel()


async def test_one_that_does_not_stop_is_killed(
    play: Callable[..., Worker], caplog: pytest.LogCaptureFixture
) -> None:
    """After the time that it had."""
    worker = play(DEAF, SERVES, STAYS)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            nursery.cancel_scope.cancel()
    assert "worker-1 does not stop; it is killed" in caplog.text
