"""A real process on a real directory, killed with -9 while it commits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronosdb.raft import CreateTopic, Options
from tests.raft.harness import Single
from tests.raft.os_storage import OsStorage

ROOT = Path(__file__).parents[2]
OPTIONS = Options(compact_entries=50)


def main(directory: str) -> None:
    """Create topics for ever and print each once it is acknowledged."""
    single = Single(OsStorage(), client=f"p{os.getpid()}", options=OPTIONS, path=directory)
    done = len(single.replica.view.topics)
    while True:
        assert single.do(CreateTopic(f"t{done}", 1)).created
        sys.stdout.write(f"t{done}\n")
        sys.stdout.flush()
        done += 1


@pytest.mark.slow
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Six lives in one directory, compacting all the time; every printed topic is there after."""
    rng = random.Random(3)
    acked: set[str] = set()
    for _ in range(6):
        acked |= _one_life(tmp_path, lines=rng.randrange(20, 120))
        single = Single(OsStorage(), client="check", options=OPTIONS, path=str(tmp_path))
        assert acked <= set(single.replica.view.topics)
        assert len(single.replica.view.topics) <= len(acked) + 10
        single.replica.close()
    assert len(acked) > 100


def _one_life(directory: Path, lines: int) -> set[str]:
    folders = [str(ROOT / part) for part in (".", "raft")]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.raft.test_process", str(directory)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        text=True,
    ) as process:
        assert process.stdout is not None
        acked = {process.stdout.readline().strip() for _ in range(lines)}
        process.send_signal(signal.SIGKILL)
        acked |= {line.strip() for line in process.stdout if line.endswith("\n")}
    assert "" not in acked, "the child died by itself"
    return acked


if __name__ == "__main__":
    main(sys.argv[1])
