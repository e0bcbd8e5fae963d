"""Each target in a process of its own, so that a crash or a hang in C is a finding too, and not the end."""

from __future__ import annotations

import mmap
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from traceback import format_exception
from typing import Final

from tests.fuzz.corpus import load
from tests.fuzz.engine import INPUT_FACTOR, Finding, Fuzzer, smallest
from tests.fuzz.targets import TARGETS

#: A worker says how it gets on so often; one that is silent for so long is stuck in C.
_REPORT_S: Final = 1.0
_SILENCE_S: Final = 120.0
#: Address space of a worker: a bomb ends in MemoryError, not with the machine.
_MEMORY_BYTES: Final = 4 << 30
_SPAWN: Final = get_context("spawn")


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, as text."""

    kind: str
    data: bytes
    trace: str


@dataclass(frozen=True, slots=True)
class Report:
    """How one target gets on. `corpus` is set in the last one: as few inputs as take every way."""

    target: str
    seconds: float = 0.0
    executions: int = 0
    given: int = 0
    kept: int = 0
    ways: int = 0
    findings: tuple[Found, ...] = ()
    corpus: tuple[bytes, ...] | None = None


@dataclass(slots=True)
class _Worker:
    target: str
    process: SpawnProcess
    pipe: Connection
    #: Holds the input being tried: its length in 8 bytes, then its bytes.
    trying: Path
    heard_s: float = field(default_factory=time.monotonic)
    last: Report = Report("")


def fuzz(
    names: Sequence[str], seconds: float, seed: int, jobs: int, note: Callable[[Report], None]
) -> list[Report]:
    """Fuzzes each target for `seconds` of CPU time, `jobs` of them at a time; calls `note` as they get on."""
    waiting, running, done = list(names), dict[Connection, _Worker](), list[Report]()
    with tempfile.TemporaryDirectory(prefix="chronos-fuzz-") as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    worker = _start(waiting.pop(0), seconds, seed, Path(scratch))
                    running[worker.pipe] = worker
                for report in _news(running):
                    note(report)
                    if report.corpus is not None:
                        done.append(report)
        finally:
            for worker in running.values():
                worker.process.kill()
    return done


def _start(name: str, seconds: float, seed: int, scratch: Path) -> _Worker:
    ours, theirs = _SPAWN.Pipe(duplex=False)
    trying = scratch / name
    process = _SPAWN.Process(target=_work, args=(name, seconds, seed, theirs, trying))
    process.start()
    theirs.close()
    return _Worker(name, process, ours, trying)


def _news(running: dict[Connection, _Worker]) -> Iterator[Report]:
    """What workers say; of one that died or is stuck, what it was trying."""
    ready = wait(list(running), timeout=_REPORT_S)
    for pipe, worker in list(running.items()):
        if pipe in ready:
            worker.heard_s = time.monotonic()
            try:
                worker.last = worker.pipe.recv()
            except EOFError:
                worker.process.join()
                worker.last = _obituary(worker, f"the process ended with {worker.process.exitcode}")
        elif time.monotonic() - worker.heard_s > _SILENCE_S:
            worker.process.kill()
            worker.last = _obituary(worker, f"silent for {_SILENCE_S:g} s")
        else:
            continue
        if worker.last.corpus is not None:
            del running[pipe]
            worker.process.join()
        yield worker.last


def _obituary(worker: _Worker, why: str) -> Report:
    raw = worker.trying.read_bytes() if worker.trying.exists() else bytes(8)
    data = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    last, found = worker.last, Found(why, data, why)
    return Report(
        worker.target,
        last.seconds,
        last.executions,
        last.given,
        last.kept,
        last.ways,
        (*last.findings, found),
        corpus=(),
    )


def _work(name: str, seconds: float, seed: int, pipe: Connection, trying: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    target = TARGETS[name]
    kept = load(name)
    fuzzer = Fuzzer(target, seed, kept)
    given = [*target.seeds(), *kept]
    size = 8 + max(INPUT_FACTOR * target.largest, *map(len, given))
    with trying.open("w+b") as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as now:
            for elapsed_s in _loop(fuzzer, seconds, now):
                pipe.send(_report(fuzzer, elapsed_s, len(given)))
    corpus = tuple(smallest(target, fuzzer.corpus))
    pipe.send(_report(fuzzer, seconds, len(given), corpus))


def _loop(fuzzer: Fuzzer, seconds: float, now: mmap.mmap) -> Iterator[float]:
    """Fuzzes for so much CPU time; yields what is used up when it is time for a report."""
    # Not wall time: on a busy machine a campaign takes longer, and is not a smaller one.
    began = reported = time.process_time()
    while (at := time.process_time()) - began < seconds:
        data = fuzzer.next_input()
        now[: 8 + len(data)] = len(data).to_bytes(8, "little") + data
        fuzzer.try_input(data)
        if at - reported >= _REPORT_S:
            reported = at
            yield at - began


def _report(
    fuzzer: Fuzzer, seconds: float, given: int, corpus: tuple[bytes, ...] | None = None
) -> Report:
    found = tuple(_as_text(fuzzer.findings.values()))
    kept = len(fuzzer.corpus)
    return Report(
        fuzzer.target.name, seconds, fuzzer.executions, given, kept, fuzzer.ways, found, corpus
    )


def _as_text(findings: Iterable[Finding]) -> Iterator[Found]:
    for finding in findings:
        yield Found(finding.kind, finding.data, "".join(format_exception(finding.error)))
