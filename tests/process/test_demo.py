"""`chronos demo` on a short log: it keeps its promises, and leaves nothing behind when it is stopped."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.process.harness import chronos


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """300 lines over ten minutes, as a package manager writes them."""
    start = dt.datetime(2026, 1, 31, 8, 0, tzinfo=dt.UTC)
    times = (start + dt.timedelta(seconds=2 * n) for n in range(300))
    path = tmp_path / "package.log"
    path.write_text(
        "".join(f"{time:%Y-%m-%d %H:%M:%S} install thing {time:%M%S}\n" for time in times)
    )
    return path


def left_behind(directory: Path) -> list[Path]:
    """What demos did not clear away."""
    return list(directory.glob("chronos-demo-*"))


@pytest.mark.slow
async def test_the_demo_keeps_its_promises(log: Path) -> None:
    """Every record is published, fired, delivered and acked once over a kill -9; the exit code is 0."""
    ended = await chronos("--json", "demo", "--input", str(log), "--seconds", "3")
    assert ended.code == 0, ended
    report = json.loads(ended.out)
    assert report["kept"]
    assert {
        report["figures"][name] for name in ("published", "fired", "delivered", "acks_confirmed")
    } == {300}
    assert report["figures"]["lost"] == report["figures"]["early"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stopped_demo_takes_its_node_along(
    log: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM end the demo, its node, and its directory."""
    process = await trio.lowlevel.open_process(
        [str(Path(sys.executable).with_name("chronos")), "demo", "--input", str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    said = ""
    with trio.fail_after(20):
        while "serves on" not in said:
            said += bytes(await process.stdout.receive_some()).decode()
        node = int(said.partition("node ")[2].partition(" ")[0])
        process.send_signal(number)
        said += b"".join([bytes(part) async for part in process.stdout]).decode()
        code = await process.wait()
    assert code == (130 if number is signal.SIGINT else 1), said
    assert "Traceback" not in said
    assert left_behind(tmp_path) == []
    with pytest.raises(ProcessLookupError):
        os.kill(node, 0)
