"""A replay on record."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from chronosdb.client import Replay, ReplayedEvent
from tests.proof.error_text import text_of
from tests.proof.history import content_of

if TYPE_CHECKING:
    from tests.proof.recorded import Recorded

#: Events on one line.
_TOGETHER: Final = 500


class RecordedReplay:
    """What `Recorded.replay` gives. Left half-way, it is to be closed."""

    def __init__(
        self,
        db: Recorded,
        topic: str,
        terms: dict[str, Any],
        *,
        token: bytes | None = None,
        behind: int | None = None,
    ) -> None:
        self._db = db
        self._topic = topic
        self._terms = terms
        self._inner: Replay = db.client.replay(topic, **terms, token=token)
        #: The call that this one goes on from, if any.
        self._behind = behind
        self._token = token
        self._n: int | None = None
        self._ended = False
        self._ready: deque[ReplayedEvent] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReplayedEvent:
        """The next event."""
        if not self._ready:
            self._ready.extend(await self._next())
        return self._ready.popleft()

    async def aclose(self) -> None:
        """End it; what was on record by then counts."""
        await self._inner.aclose()
        if self._n is not None:
            self._end("unknown", "closed")

    def resumed(self, db: Recorded) -> RecordedReplay:
        """A replay that goes on behind the last event of this one, through this or another client."""
        return RecordedReplay(db, self._topic, self._terms, token=self._token, behind=self._n)

    async def _next(self) -> Sequence[ReplayedEvent]:
        if self._n is None:
            self._n = self._begin()
        try:
            events = [await anext(self._inner), *self._inner.take(_TOGETHER)]
        except StopAsyncIteration:
            self._end("ok")
            raise
        except BaseException as error:
            self._end("unknown", text_of(error))
            raise
        self._token = events[-1].token
        self._db.recorder.saw(
            "replayed", {"n": self._n, "topic": self._topic, **self._columns(events)}, self._db.proc
        )
        return events

    def _begin(self) -> int:
        key = self._terms["key"]
        args = {"topic": self._topic, **self._terms, "key": None if key is None else key.hex()}
        if self._behind is not None:
            args["behind"] = self._behind
        return self._db.recorder.call(self._db.proc, "replay", args)

    def _columns(self, events: Sequence[ReplayedEvent]) -> dict[str, Any]:
        columns: dict[str, Any] = {
            "partition": [event.partition for event in events],
            "offset": [event.offset for event in events],
            "id": [event.message_id for event in events],
            "due": [event.schedule_ts for event in events],
            "published_ms": [event.published_ts for event in events],
            "content": [content_of(event.key, event.meta, event.payload) for event in events],
        }
        if self._terms["by"] == "fired":
            columns["position"] = [event.position for event in events]
            columns["fired_ms"] = [event.fired_ts for event in events]
        return columns

    def _end(self, outcome: Any, error: str = "") -> None:
        assert self._n is not None
        if not self._ended:
            self._ended = True
            self._db.recorder.returned(self._n, outcome, {}, error)
