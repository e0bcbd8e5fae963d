"""What a failover consists of, by what the nodes wrote to their logs while it went on."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

_LINE: Final = re.compile(r"([0-9-]+ [0-9:]+),([0-9]{3}) [A-Z]+ +[a-z_.]+: (.*)")


@dataclass(frozen=True, slots=True)
class Phases:
    """One outage, in seconds, one after the other. What is not in the logs is part of what comes next."""

    #: Until the controller, be it a new one, knew that the leader is dead.
    noticed_s: float
    #: Until another one was elected, and had heard of it.
    elected_s: float
    #: Until it served.
    opened_s: float
    #: Until the client had found it, and had an answer.
    answered_s: float

    @classmethod
    def of(
        cls, logs: Iterable[Path], victim: str, name: str, killed_s: float, acked_s: float
    ) -> Self:
        """Of the partition `name`, whose leader `victim` was killed; times since the Unix epoch."""
        marks = (f"node {victim} is fenced", f"{name}: epoch ", f"{name}: served here")
        said = [
            (at_s, text)
            for log in logs
            for at_s, text in _lines(log)
            if killed_s <= at_s <= acked_s and "is over here" not in text
        ]
        ends, reached_s = [], killed_s
        for mark in marks:
            reached_s = max(
                reached_s, min((s for s, text in said if text.startswith(mark)), default=reached_s)
            )
            ends.append(reached_s)
        noticed_s, elected_s, opened_s = ends
        return cls(
            noticed_s - killed_s,
            elected_s - noticed_s,
            opened_s - elected_s,
            acked_s - opened_s,
        )

    def __str__(self) -> str:
        return (
            f"noticed after {self.noticed_s:.2f} s, elected {self.elected_s:.2f} s later,"
            f" served {self.opened_s:.2f} s later, answered {self.answered_s:.2f} s later"
        )


def middle(phases: Sequence[Phases]) -> Phases:
    """The median of each phase."""
    return Phases(
        statistics.median(one.noticed_s for one in phases),
        statistics.median(one.elected_s for one in phases),
        statistics.median(one.opened_s for one in phases),
        statistics.median(one.answered_s for one in phases),
    )


def _lines(log: Path) -> Iterable[tuple[float, str]]:
    for line in log.read_text(errors="replace").splitlines():
        if match := _LINE.fullmatch(line):
            yield datetime.fromisoformat(match[1]).timestamp() + int(match[2]) / 1000, match[3]
