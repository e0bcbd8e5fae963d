"""A case is one thing to measure.

Cases are run in rounds, so that a slow minute of the machine falls on all of them and not on one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from bench.disk import fdatasync_ms
from bench.lab import Lab

#: Name with unit → value.
Figures: TypeAlias = Mapping[str, float]


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
    runs: int = 3


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
    """All runs of one case."""

    case: Case
    runs: list[Run] = field(default_factory=list)


def run_piece(lab: Lab, piece: Piece, runs: int, progress: Callable[[str], object]) -> list[Result]:
    """Take the figures of every case `runs` times; `progress` is told what comes next."""
    assert runs > 0, "a median of nothing"
    results = [Result(case) for case in piece.cases]
    for number in range(1, runs + 1):
        for result in results:
            progress(f"{piece.name}: {result.case.name}, run {number} of {runs}")
            result.runs.append(_run(lab, result.case))
    return results


def _run(lab: Lab, case: Case) -> Run:
    before_ms = fdatasync_ms(lab.directory)
    figures = case.measure(lab)
    return Run(figures, before_ms, fdatasync_ms(lab.directory), os.getloadavg()[0])
