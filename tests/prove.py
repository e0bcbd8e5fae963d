"""Every machine that tries to break the promises, one after the other, each for its share of the time.

    python -m tests.prove --minutes 3 --seed 17      (make prove, make campaign HOURS=8)

What each of them does, and what it does not, is in docs/reliability.md. The amounts follow from the
minutes alone, so that a seed and a number of minutes name the same work on every machine; how long
they take on two cores of today is about that many minutes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).parents[1]
#: A campaign is repeated with other seeds in rounds of this length.
ROUND_MINUTES: Final = 30.0
#: So many lines of one that failed are shown again at the end.
LAST_WORDS_LINES: Final = 30


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to do, and where chance begins."""

    minutes: float
    seed: int
    jobs: int

    def amount(self, per_minute: float) -> int:
        """So many of something of which `per_minute` are done while all the others run too."""
        return max(1, round(per_minute * self.minutes))


@dataclass(frozen=True, slots=True)
class Machine:
    """One way to break the promises."""

    name: str
    #: Arguments of `python -m`.
    command: Callable[[Budget], list[str]]


def _simulation(budget: Budget) -> list[str]:
    seeds = budget.amount(12)
    first = budget.seed * 10_000
    span = f"{first}..{first + seeds - 1}"
    return ["tests.simulate", "--seeds", span, "-j", str(budget.jobs), "--check-replay", "1%"]


def _clusters(budget: Budget) -> list[str]:
    seeds = budget.amount(10)
    first = budget.seed * 10_000
    return [
        "tests.simulate",
        *("--nodes", "3", "--trouble", "4"),
        *("--seeds", f"{first}..{first + seeds - 1}"),
        *("-j", str(budget.jobs), "--check-replay", "5%"),
    ]


def _crash_states(budget: Budget) -> list[str]:
    states, first = budget.amount(13_000), budget.seed * 10_000
    return ["tests.crash", "--states", str(states), "--seed", str(first), "-j", str(budget.jobs)]


def _kills(budget: Budget) -> list[str]:
    return [
        "tests.process.torture",
        *("--cycles", str(budget.amount(8))),
        *("--seed", str(budget.seed)),
    ]


def _mixed_load(budget: Budget) -> list[str]:
    minutes = budget.minutes * 0.13
    return [
        "tests.process.mixed_load",
        *("--minutes", f"{minutes:.2f}"),
        *("--seed", str(budget.seed)),
    ]


def _faults(budget: Budget) -> list[str]:
    minutes = budget.minutes * 0.12
    return [
        "tests.process.faults",
        *("--minutes", f"{minutes:.2f}"),
        *("--seed", str(budget.seed)),
    ]


def _models(budget: Budget) -> list[str]:
    return [
        "tests.models",
        *("--rounds", str(budget.amount(0.4))),
        *("--seed", str(budget.seed)),
        *("-j", str(budget.jobs)),
    ]


def _fuzzing(budget: Budget) -> list[str]:
    each = max(0.01, budget.minutes * 0.009)
    return [
        "tests.fuzz",
        *("--minutes", f"{each:.3f}"),
        *("--seed", str(budget.seed)),
        *("-j", str(budget.jobs)),
    ]


MACHINES: Final = (
    Machine("simulated worlds", _simulation),
    Machine("simulated clusters", _clusters),
    Machine("crash states", _crash_states),
    Machine("models", _models),
    Machine("kill -9", _kills),
    Machine("mixed load", _mixed_load),
    Machine("real faults", _faults),
    Machine("hostile bytes", _fuzzing),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of them ended."""

    command: list[str]
    seconds: float
    status: int
    #: The end of what it wrote, if that was not a terminal.
    last_words: str


@click.command()
@click.option("--minutes", type=click.FloatRange(0.2), default=10.0, show_default=True)
@click.option("--hours", type=click.FloatRange(0.1), help="In rounds with one seed after another.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=2, show_default=True)
def main(*, minutes: float, hours: float | None, seed: int, jobs: int) -> None:
    """Try to break every promise; exit with 1 if one was broken."""
    console = Console()
    rounds = [minutes] if hours is None else _rounds(hours * 60)
    outcomes = [
        outcome
        for number, length in enumerate(rounds)
        for outcome in _round(Budget(length, seed + number, jobs), console)
    ]
    _print(outcomes, console)
    sys.exit(any(outcome.status for outcome in outcomes))


def _rounds(minutes: float) -> list[float]:
    whole = int(minutes // ROUND_MINUTES)
    return [ROUND_MINUTES] * whole or [minutes]


def _round(budget: Budget, console: Console) -> list[Outcome]:
    """Each in turn; one that fails does not keep the others."""
    outcomes = []
    for machine in MACHINES:
        command = machine.command(budget)
        console.rule(f"{machine.name}: python -m {' '.join(command)}")
        began_s = time.monotonic()
        status, last_words = _run(command, keep=not console.is_terminal)
        outcomes.append(Outcome(command, time.monotonic() - began_s, status, last_words))
    return outcomes


def _run(command: list[str], *, keep: bool) -> tuple[int, str]:
    """Its exit code, and the end of what it wrote if that is to be kept: a terminal has bars instead."""
    words = [sys.executable, "-m", *command]
    if not keep:
        return subprocess.run(words, cwd=ROOT, check=False).returncode, ""
    lines = deque[str](maxlen=LAST_WORDS_LINES)
    piped = partial(subprocess.Popen[str], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with piped(words, cwd=ROOT, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            lines.append(line)
    return process.returncode, "".join(lines)


def _print(outcomes: list[Outcome], console: Console) -> None:
    table = Table("command", "seconds", "promises", box=None)
    for outcome in outcomes:
        verdict = "kept" if outcome.status == 0 else f"[red]BROKEN[/] (exit code {outcome.status})"
        table.add_row(f"python -m {' '.join(outcome.command)}", f"{outcome.seconds:.0f}", verdict)
    console.rule("all of it")
    console.print(table)
    # Again, and last: of a long log people are shown the end.
    for broken in (outcome for outcome in outcomes if outcome.status):
        console.rule(f"the end of {broken.command[0]}")
        console.print(broken.last_words, markup=False, highlight=False)


if __name__ == "__main__":
    main()
