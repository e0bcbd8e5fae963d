"""What people were told and shown must be on disk at the moment a machine goes down.

The checker judges the end of a run. A promise that was broken at a crash may have healed by then: an event
whose firing was lost fires again, mostly at the same position. So each crash is judged by itself.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final

from chronosdb.testing.machine import DATA_DIR
from chronosdb.testing.memory_disk import MemoryDisk
from tests.proof.dump import dump, topic_names
from tests.proof.history import Outcome, Recorder, read_history

#: A partition, and an offset or a position in it.
_Place = tuple[int, int]


@final
class AttentiveRecorder(Recorder):
    """A recorder that remembers what the checker of one crash needs, about one topic."""

    def __init__(self, topic: str, *args: Any) -> None:
        super().__init__(*args)
        self.topic = topic
        #: The id of each event whose publish was answered, by its offset.
        self.acked: dict[_Place, str] = {}
        #: The offset of each event that was delivered, by its position.
        self.delivered: dict[_Place, int] = {}
        self._publishing: dict[int, list[str]] = {}

    def call(self, proc: str, f: str, args: dict[str, Any]) -> int:
        """See `Recorder.call`."""
        n = super().call(proc, f, args)
        if f == "publish" and args["topic"] == self.topic:
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
        if f == "deliver" and seen is not None and seen["topic"] == self.topic:
            places = zip(seen["partition"], seen["position"], strict=True)
            self.delivered.update(zip(places, seen["offset"], strict=True))


def lost(known: AttentiveRecorder, disks: Sequence[MemoryDisk], *, copies: int) -> list[str]:
    """What people know of the topic and fewer than so many of these disks say."""
    held = [_Held(log) for log in _logs(disks, known.topic)]
    return [
        *(
            f"I1: {name} was acked at offset {place[1]} of partition {place[0]}, and is not on disk"
            for place, name in known.acked.items()
            if sum(one.stores(place, name) for one in held) < copies
        ),
        *(
            f"I6: position {place[1]} of partition {place[0]} was delivered, and is not on disk"
            for place, offset in known.delivered.items()
            if sum(one.fired(place, offset) for one in held) < copies
        ),
    ]


class _Held:
    """What one disk holds of a topic."""

    def __init__(self, log: Iterable[dict[str, Any]]) -> None:
        self._ids: dict[_Place, str] = {}
        self._offsets: dict[_Place, int] = {}
        #: Where the log of each partition begins: retention may have deleted what was before.
        self._first: dict[int, tuple[int, int]] = {}
        for seen in log:
            if seen["what"] == "publish":
                _enter(self._ids, seen, seen["id"])
            elif seen["what"] == "fire":
                _enter(self._offsets, seen, seen["offset"])
            elif seen["what"] == "begin":
                self._first[seen["partition"]] = seen["offset"], seen["position"]

    def stores(self, place: _Place, name: str) -> bool:
        """Whether it has this event at this offset, or had it."""
        first, _ = self._first.get(place[0], (0, 0))
        return place[1] < first or self._ids.get(place) == name

    def fired(self, place: _Place, offset: int) -> bool:
        """Whether it has this offset at this position, or had it."""
        _, first = self._first.get(place[0], (0, 0))
        return place[1] < first or self._offsets.get(place) == offset


def _logs(disks: Sequence[MemoryDisk], topic: str) -> Iterator[list[dict[str, Any]]]:
    """Of each disk the lines of its logs. A node may hold a log and not have heard of its topic yet."""
    topics: dict[int, str] = {}
    for disk in disks:
        topics |= topic_names(disk, DATA_DIR)
    for disk in disks:
        sink = io.BytesIO()
        dump(Recorder(sink, lambda: 0, lambda: 0), disk, DATA_DIR, topics)
        lines = read_history(sink.getvalue().splitlines(keepends=True))
        yield [line.seen for line in lines if line.seen and line.seen["topic"] == topic]


def _enter(table: dict[_Place, Any], seen: dict[str, Any], column: list[Any]) -> None:
    for number, value in enumerate(column, seen["first"]):
        table[seen["partition"], number] = value
