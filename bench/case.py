"""A case is one thing to measure.

Cases are run in rounds, so that a slow minute of the machine falls on all of them and not on one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from bench.disk import fdatasync_ms
from bench.errors import BenchError
from bench.lab import Lab
from bench.machine import Machine, this_machine

#: Name with unit → value.
Figures: TypeAlias = Mapping[str, float]

#: A case that failed so often is not tried again: what cannot work should not take all night.
FAILURES_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Case:
    """`measure` takes the figures once, with nodes and clients of its own."""

    name: str
    measure: Callable[[Lab], Figures]


@dataclass(frozen=True, slots=True)
class Piece:
    """Cases that belong in one table."""

    name: str
    title: str
    cases: Sequence[Case]
    #: How often each case is measured unless told otherwise.
    runs: int = 5
    #: The figures that people see, in this order; the others are for plots. Empty: all of them.
    columns: Sequence[str] = ()
    #: The case that the first figure of the others is divided by, if that means something.
    baseline: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement, and how the machine was."""

    figures: Figures
    fdatasync_before_ms: float
    fdatasync_after_ms: float
    #: Processes that wanted a CPU in the last minute, on average; those of the bench among them.
    load_average: float


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of one case, and what was said about those that failed."""

    case: str
    runs: list[Run] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Table:
    """What was found out about a piece: all that reports and plots need."""

    piece: str
    title: str
    columns: list[str]
    baseline: str | None
    machine: Machine
    #: When the first run began, UTC, to the minute.
    began: str
    results: list[Result]

    def failed(self) -> bool:
        """Whether a case has no figures, or a run broke a promise."""
        return any(result.failures or not result.runs for result in self.results)


def run_piece(lab: Lab, piece: Piece, runs: int, progress: Callable[[str], object]) -> Table:
    """Take the figures of every case `runs` times; `progress` is told what comes next."""
    assert runs > 0, "a median of nothing"
    began = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    results = [Result(case.name) for case in piece.cases]
    for number in range(1, runs + 1):
        for case, result in zip(piece.cases, results, strict=True):
            if len(result.failures) < FAILURES_MAX:
                progress(f"{piece.name}: run {number} of {runs}: {case.name}")
                _run(lab, case, result)
    return Table(
        piece.name, piece.title, list(piece.columns), piece.baseline, this_machine(), began, results
    )


def _run(lab: Lab, case: Case, result: Result) -> None:
    before_ms = fdatasync_ms(lab.directory)
    try:
        figures = case.measure(lab)
    except (BenchError, OSError) as error:
        result.failures.append(str(error) or type(error).__name__)
    else:
        after_ms = fdatasync_ms(lab.directory)
        result.runs.append(Run(figures, before_ms, after_ms, os.getloadavg()[0]))
