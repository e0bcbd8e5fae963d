"""What the checker says: how much of each invariant was judged, and what broke it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tests.proof.checker.columns import Mask, Rows

#: Design §4, in a few words each.
INVARIANTS: Final = {
    "I1": "durable: what was acked is in the log",
    "I2": "no phantom: nothing that nobody published, no other bytes",
    "I3": "never early",
    "I4": "what is due is delivered",
    "I5": "one id stores one event",
    "I6": "offsets, positions and first deliveries in order",
    "I7": "cursors never go back, nor pass what is unsettled",
    "I8": "acks are durable, and nothing acked is sent again",
    "I9": "epochs of a log grow, and each has one leader",
    "I10": "copies agree below what is committed, and none of it is cut off",
    "I11": "the high watermark only grows",
    "I12": "replays give exactly the committed events of their range",
    "I13": "pending = published - fired - cancelled, and so is every answer",
    "I14": "damage is never taken for data, nor for the end",
    "I15": "after a failed write or sync nothing is acked",
    "I16": "nothing is stuck; publishing works soon after healing",
    "I17": "a stepped clock fires nothing twice or early",
}
#: Violations of one invariant that are kept with their proof; all are counted.
KEPT: Final = 20

#: A line of the history, and the row of its columns (None: all of it).
Place = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, and the lines that prove it."""

    invariant: str
    text: str
    proof: tuple[Place, ...]


@dataclass(slots=True)
class Verdict:
    """See above."""

    #: What was judged, by invariant: "1,234 deliveries".
    judged: dict[str, Counter[str]] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def judge(self, invariant: str, what: str, count: int) -> None:
        """So many were looked at."""
        self.judged.setdefault(invariant, Counter())[what] += int(count)

    def violate(self, invariant: str, text: str, *proof: Place) -> None:
        """A promise was broken."""
        self.broken[invariant] += 1
        if self.broken[invariant] <= KEPT:
            self.violations.append(Violation(invariant, text, proof))

    def violate_rows(
        self,
        invariant: str,
        rows: Rows,
        wrong: Mask,
        text: Callable[[int], str],
        also: Callable[[int], Iterable[Place]] = lambda _: (),
    ) -> None:
        """Every row that is wrong, `text` being asked of its index."""
        found = np.flatnonzero(wrong)
        for i in found[:KEPT].tolist():
            self.violate(invariant, text(i), place(rows, i), *also(i))
        if len(found) > KEPT:
            self.broken[invariant] += len(found) - KEPT

    @property
    def kept(self) -> bool:
        """Whether no promise was broken."""
        return not self.broken.total()


def place(rows: Rows, i: int) -> Place:
    """Where a row comes from."""
    return int(rows["line"][i]), int(rows["row"][i])
