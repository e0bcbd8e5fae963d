"""Three real processes, killed with -9 again and again: what was acknowledged is never lost.

python -m tests.peers.processes --kills 30 [--measure]
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

from rich.progress import track

ROOT = Path(__file__).parents[2]
NAMES = ("a", "b", "c")


class Process:
    """One node's process; a thread reads what it prints."""

    def __init__(self, directory: Path, name: str, ports: dict[str, int]) -> None:
        self.name = name
        others = [f"{one}=127.0.0.1:{port}" for one, port in ports.items() if one != name]
        folders = [str(ROOT / part) for part in (".", "node", "raft", "wal", "sched", "client")]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.peers.member"),
                *(str(directory), name, str(ports[name]), *others),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
            text=True,
        )
        self.acked: list[tuple[float, str]] = []
        self.leads = False
        self.is_ready = threading.Event()
        self.answers: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._reader.join()
        with self._process, suppress(BrokenPipeError):
            pass  # Closes the pipes, and waits.

    def answer(self, timeout_s: float = 30.0) -> str:
        try:
            return self.answers.get(timeout=timeout_s)
        except Empty:
            raise AssertionError(f"{self.name} does not answer") from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                return
            word, _, rest = line.strip().partition(" ")
            match word:
                case "acked":
                    self.acked.append((time.monotonic(), rest))
                case "leads" | "follows":
                    self.leads = word == "leads"
                case "ready":
                    self.is_ready.set()
                case "topics" | "measured":
                    self.answers.put(rest)


class Processes:
    """The cluster."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = dict(zip(NAMES, _free_ports(len(NAMES)), strict=True))
        self.running: dict[str, Process] = {}
        self.acked: set[str] = set()
        for name in NAMES:
            (directory / name).mkdir()
            self.start(name)
        self.wait(lambda: all(p.is_ready.is_set() for p in self.running.values()))

    def port(self, name: str) -> int:
        return self._ports[name]

    def start(self, name: str) -> Process:
        self.running[name] = Process(self._directory / name, name, self._ports)
        return self.running[name]

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        self.acked |= {topic for _, topic in process.acked}

    def wait(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.005)

    def leader(self) -> str:
        self.wait(lambda: any(p.leads for p in self.running.values()))
        return next(name for name, p in self.running.items() if p.leads)

    def acknowledged_since(self, moment: float) -> bool:
        return any(p.acked and p.acked[-1][0] > moment for p in self.running.values())

    def all_tell(self, word: str) -> None:
        for process in self.running.values():
            process.tell(word)

    def stop(self) -> None:
        for name in list(self.running):
            self.kill(name)


def torture(directory: Path, kills: int, seed: int) -> list[float]:
    """Kill and restart; the seconds from each leader's death to the next acknowledgement."""
    rng = random.Random(seed)
    cluster = Processes(directory)
    outages_s = []
    try:
        cluster.all_tell("go on")
        for n in track(range(kills), "kills"):
            time.sleep(rng.uniform(0.2, 1.5))
            victims = [cluster.leader() if n % 2 else rng.choice(NAMES)]
            if n % 7 == 6:
                victims = list(NAMES)
            began = time.monotonic()
            for name in victims:
                cluster.kill(name)
            if len(victims) == 1:
                cluster.wait(lambda since=began: cluster.acknowledged_since(since))  # type: ignore[misc]
                if n % 2:
                    outages_s.append(time.monotonic() - began)
            for name in victims:
                cluster.start(name).tell("go on")
            cluster.wait(lambda: all(p.is_ready.is_set() for p in cluster.running.values()))
        cluster.all_tell("pause")
        time.sleep(1)
        _check(cluster)
    finally:
        cluster.stop()
    return outages_s


def _check(cluster: Processes) -> None:
    """Every node shows every acknowledged topic, and all show the same."""
    cluster.all_tell("view")
    views = [set(process.answer().split()) for process in cluster.running.values()]
    acked = cluster.acked | {t for p in cluster.running.values() for _, t in p.acked}
    assert len(acked) > 100, "hardly anything was acknowledged"
    for view in views:
        lost = acked - view
        assert not lost, f"acknowledged and lost: {sorted(lost)[:5]}"
        assert view == views[0]
    sys.stdout.write(f"{len(acked)} acknowledged, {len(views[0])} there on each node\n")


def measure(directory: Path) -> None:
    """Print how long a commit takes, on the leader and on followers, and what idling costs."""
    cluster = Processes(directory)
    try:
        leader = cluster.leader()
        for name, process in cluster.running.items():
            process.tell("measure")
            role = "leader" if name == leader else "follower"
            sys.stdout.write(f"{role}: {process.answer(60)}\n")
    finally:
        cluster.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if arguments.measure:
            measure(Path(directory))
            return
        outages_s = sorted(torture(Path(directory), arguments.kills, arguments.seed))
    median, worst = outages_s[len(outages_s) // 2], outages_s[-1]
    sys.stdout.write(
        f"{arguments.kills} kills; leader killed → next acknowledgement:"
        f" median {median:.2f} s, most {worst:.2f} s\n"
    )


if __name__ == "__main__":
    main()
