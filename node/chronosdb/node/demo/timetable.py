"""From real times to due times: which stretch of the records is played, and when each is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chronosdb.node.demo.sources import Entry

#: A longer pause divides two stretches. None: one stretch of everything.
_PAUSES_S: Final = (10, 60, 600, 3600, 24 * 3600, None)
_SLOTS: Final = 300


@dataclass(frozen=True, slots=True)
class Timetable:
    """Records in order of time, and how their times map to due times."""

    entries: Sequence[Entry]
    start_ms: int
    span_ms: int

    @property
    def recorded_ms(self) -> int:
        """How long the records took when they happened."""
        return _duration_ms(self.entries)

    @property
    def due_ms(self) -> list[int]:
        """When each is due: the original spacing, on another scale."""
        first = self.entries[0].recorded_ms
        scale = self.span_ms / max(1, self.recorded_ms)
        return [
            self.start_ms + round((entry.recorded_ms - first) * scale) for entry in self.entries
        ]


def liveliest(entries: Sequence[Entry], limit: int) -> Sequence[Entry]:
    """The stretch of at most `limit` records that spreads best over its time.

    Logs are long silences with bursts between them. Divided at pauses of every length, the stretch
    wins that has something to show in the most of its 300 equal parts; of equals, the longer one.
    """
    assert len(entries) >= 1
    assert limit >= 1
    stretches = [stretch[:limit] for pause_s in _PAUSES_S for stretch in _divided(entries, pause_s)]
    return max(stretches, key=lambda stretch: (_slots_used(stretch), len(stretch)))


def _divided(entries: Sequence[Entry], pause_s: int | None) -> list[Sequence[Entry]]:
    if pause_s is None:
        return [entries]
    cuts = [
        i
        for i, (before, after) in enumerate(pairwise(entries), 1)
        if after.recorded_ms - before.recorded_ms > pause_s * 1000
    ]
    return [entries[start:stop] for start, stop in pairwise([0, *cuts, len(entries)])]


def _slots_used(entries: Sequence[Entry]) -> int:
    first, whole = entries[0].recorded_ms, max(1, _duration_ms(entries))
    return len({(entry.recorded_ms - first) * (_SLOTS - 1) // whole for entry in entries})


def _duration_ms(entries: Sequence[Entry]) -> int:
    return entries[-1].recorded_ms - entries[0].recorded_ms
