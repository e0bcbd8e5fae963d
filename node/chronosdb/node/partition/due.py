"""Due: offsets and the times at which they are to fire, as two columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


class Due(NamedTuple):
    """Timers: two columns of equal length."""

    #: Epoch milliseconds.
    due_ms: Int64s
    offsets: Int64s

    @property
    def size(self) -> int:
        """How many."""
        return len(self.offsets)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Due:
        """Those that a mask or an array of indices chooses."""
        return Due(self.due_ms[chosen], self.offsets[chosen])

    def ordered(self) -> Due:
        """These, in (schedule_ts, offset) order."""
        order = np.lexsort((self.offsets, self.due_ms))
        return Due(self.due_ms[order], self.offsets[order])


NOTHING: Final = Due(np.empty(0, np.int64), np.empty(0, np.int64))


def joined(dues: Sequence[Due]) -> Due:
    """All of them, one after the other."""
    if len(dues) == 1:
        return dues[0]
    if not dues:
        return NOTHING
    return Due(
        np.concatenate([due.due_ms for due in dues]),
        np.concatenate([due.offsets for due in dues]),
    )
