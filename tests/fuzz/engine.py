"""The loop: change an input that took a new way, run it, keep it if it took another new way.

Deterministic by seed. What is watched: errors nobody documented, time, memory.
"""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from traceback import extract_tb
from types import FrameType
from typing import Final

from tests.fuzz.coverage import Arcs, in_product
from tests.fuzz.mutate import Mutator
from tests.fuzz.target import Feature, Target

#: Seconds of processor time, so that a busy machine is no finding.
TIME_S: Final = 5.0
#: Bytes that any run may take, whatever its input.
MEMORY_FLOOR: Final = 512 * 1024
#: Looking at memory takes twice as long: one run in so many, and all that are kept.
_MEMORY_EVERY: Final = 64
#: Mending may make an input longer than the target's `largest`, by this factor at most.
INPUT_FACTOR: Final = 2
#: Half of the time an input is changed that was found lately.
_LATELY: Final = 32


class Hang(BaseException):
    """A run took too long. No Exception, so that no target catches it."""


class Greedy(Exception):
    """A run took more memory than its input explains."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that broke what a target promises."""

    target: str
    data: bytes
    error: BaseException

    @property
    def kind(self) -> str:
        """Findings of one kind are most likely one bug."""
        frames = [(f.filename, f.lineno) for f in extract_tb(self.error.__traceback__)]
        ours = [frame for frame in frames if "/chronosdb/" in frame[0]] or frames[-1:]
        path, line = ours[-1]
        return f"{type(self.error).__name__} at {'/'.join(path.split('/')[-3:])}:{line}"


class Fuzzer:
    """One campaign against one target."""

    def __init__(
        self,
        target: Target,
        seed: int,
        corpus: Iterable[bytes] = (),
        is_ours: Callable[[str], bool] = in_product,
    ) -> None:
        self.target = target
        self.executions = 0
        #: Everything that took a way of its own, oldest first.
        self.corpus: list[bytes] = []
        #: The first input of each kind.
        self.findings: dict[str, Finding] = {}
        self._ways: set[int | Feature] = set()
        self._arcs = Arcs(is_ours)
        self._random = Random(f"{target.name}/{seed}")
        self._mutator = Mutator(self._random, target.words, target.largest)
        #: Tried first, as they are.
        self._given = [*target.seeds(), *corpus]

    @property
    def ways(self) -> int:
        """How many arcs and features were seen."""
        return len(self._ways)

    def next_input(self) -> bytes:
        """What to try now."""
        if self._given:
            return self._given.pop(0)
        data = self._mutator.mutated(self._picked(), self._random.choice(self.corpus or [b""]))
        if self._random.random() < 0.25:
            return data
        mended = self.target.mend(data, self._random)
        return mended if len(mended) <= INPUT_FACTOR * self.target.largest else data

    def try_input(self, data: bytes) -> bool:
        """Runs it; True if it took a new way, and is kept."""
        self.executions += 1
        try:
            new = self._ways_of(data) - self._ways
            if new or self.executions % _MEMORY_EVERY == 0:
                check_memory(self.target, data)
        except (Hang, Exception) as error:  # noqa: BLE001 - whatever it is, it is what we look for
            finding = Finding(self.target.name, data, error)
            self.findings.setdefault(finding.kind, finding)
            return False
        if new:
            self._ways |= new
            self.corpus.append(data)
        return bool(new)

    def _ways_of(self, data: bytes) -> set[int | Feature]:
        with time_limit(), self._arcs:
            feature = self.target.run(data)
        return {*self._arcs.found, feature}

    def _picked(self) -> bytes:
        if not self.corpus:
            return b""
        some = self.corpus[-_LATELY:] if self._random.random() < 0.5 else self.corpus
        return self._random.choice(some)


def replay(target: Target, data: bytes) -> None:
    """One run under every watch but coverage; raises what a finding would be of."""
    with time_limit():
        target.run(data)
    check_memory(target, data)


def smallest(target: Target, corpus: Iterable[bytes]) -> list[bytes]:
    """The inputs that together take every way of `corpus`, short ones first."""
    judge, kept = Fuzzer(target, 0), []
    for data in sorted(corpus, key=len):
        new = judge._ways_of(data) - judge._ways
        if new:
            judge._ways |= new
            kept.append(data)
    return kept


def check_memory(target: Target, data: bytes) -> None:
    """Raises Greedy if a run takes more than MEMORY_FLOOR and `memory_factor` bytes a byte."""
    tracemalloc.start()
    try:
        target.run(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    allowed = MEMORY_FLOOR + target.memory_factor * len(data)
    if peak > allowed:
        raise Greedy(
            f"{peak:,} bytes of memory for {len(data):,} of input; {allowed:,} are allowed"
        )


@contextmanager
def time_limit() -> Iterator[None]:
    """Raises Hang inside when it takes more than TIME_S of processor time."""
    before = signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, TIME_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise Hang(f"more than {TIME_S:g} s of processor time")
