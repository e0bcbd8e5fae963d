"""What people were told and shown must be on disk, synced, at the moment a machine goes down.

The checker judges the end of a run. A promise that was broken at a crash may have healed by then: an event
whose firing was lost fires again, mostly at the same position. So each crash is judged by itself.
"""

from __future__ import annotations

import io
from typing import Any, final

from chronosdb.testing.machine import DATA_DIR
from chronosdb.testing.memory_disk import MemoryDisk
from tests.proof.dump import dump
from tests.proof.history import Outcome, Recorder, read_history

#: A partition, and an offset or a position in it.
_Place = tuple[int, int]


@final
class AttentiveRecorder(Recorder):
    """A recorder that remembers what the checker of one crash needs."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: The id of each event whose publish was answered, by its offset.
        self.acked: dict[_Place, str] = {}
        #: The offset of each event that was delivered, by its position.
        self.delivered: dict[_Place, int] = {}
        self._publishing: dict[int, list[str]] = {}

    def call(self, proc: str, f: str, args: dict[str, Any]) -> int:
        """See `Recorder.call`."""
        n = super().call(proc, f, args)
        if f == "publish":
            self._publishing[n] = args["id"]
        return n

    def returned(
        self, n: int, outcome: Outcome, ret: dict[str, Any] | None = None, error: str = ""
    ) -> None:
        """See `Recorder.returned`."""
        super().returned(n, outcome, ret, error)
        ids = self._publishing.pop(n, None)
        if ids is not None and ret is not None:
            places = zip(ret["partition"], ret["offset"], strict=True)
            self.acked.update(zip(places, ids, strict=True))

    def saw(self, f: str, seen: dict[str, Any] | None = None, proc: str = "") -> None:
        """See `Recorder.saw`."""
        super().saw(f, seen, proc)
        if f == "deliver" and seen is not None:
            places = zip(seen["partition"], seen["position"], strict=True)
            self.delivered.update(zip(places, seen["offset"], strict=True))


def lost_if_unsynced_is_lost(known: AttentiveRecorder, disk: MemoryDisk, topic: str) -> list[str]:
    """What people know of `topic` and the synced bytes on `disk` do not say."""
    stored: dict[_Place, str] = {}
    fired: dict[_Place, int] = {}
    for seen in _log(disk, topic):
        if seen["what"] == "publish":
            _enter(stored, seen, seen["id"])
        elif seen["what"] == "fire":
            _enter(fired, seen, seen["offset"])
    return [
        *(
            f"I1: {name} was acked at offset {place[1]} of partition {place[0]}, and is not synced"
            for place, name in known.acked.items()
            if stored.get(place) != name
        ),
        *(
            f"I6: position {place[1]} of partition {place[0]} was delivered, and is not synced"
            for place, offset in known.delivered.items()
            if fired.get(place) != offset
        ),
    ]


def _log(disk: MemoryDisk, topic: str) -> list[dict[str, Any]]:
    sink = io.BytesIO()
    dump(Recorder(sink, lambda: 0, lambda: 0), disk.copy(), DATA_DIR)
    lines = read_history(sink.getvalue().splitlines(keepends=True))
    return [line.seen for line in lines if line.seen and line.seen["topic"] == topic]


def _enter(table: dict[_Place, Any], seen: dict[str, Any], column: list[Any]) -> None:
    for number, value in enumerate(column, seen["first"]):
        table[seen["partition"], number] = value
