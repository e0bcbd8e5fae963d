"""The public client, with everything it does on record.

Same names and arguments as `chronosdb.client.Client`; times are epoch ms only. Works under virtual time
as over real sockets: the clocks are the recorder's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, TypeVar

from chronosdb.client import (
    ChronosError,
    Client,
    Event,
    GroupInfo,
    GroupMove,
    PublishResult,
    StoredEvent,
    TopicInfo,
)
from chronosdb.client.pending import ChangeResult
from chronosdb.wire.event import Meta
from tests.proof.error_text import text_of
from tests.proof.history import Outcome, Recorder, content_of
from tests.proof.recorded_replay import RecordedReplay
from tests.proof.recorded_subscription import RecordedSubscription

T = TypeVar("T")

#: Errors that say that nothing was done, by this attempt or an earlier one. Not Overloaded and LeaseLost:
#: the client may have lost the answer to an attempt before.
_NOTHING_DONE: Final = frozenset({"conflict", "invalid_argument", "not_found"})


def outcome_of(error: BaseException, events: int = 1) -> Outcome:
    """What an error says about a request for so many events: of many, some may have been stored."""
    definite = isinstance(error, TypeError) or (
        isinstance(error, ChronosError) and error.code in _NOTHING_DONE and events == 1
    )
    return "fail" if definite else "unknown"


class Recorded:
    """A client whose requests, answers and deliveries are filed under the name `proc`.

    Two tasks that ask at once through one client need no names of their own.
    """

    def __init__(self, client: Client, recorder: Recorder, proc: str) -> None:
        self.client = client
        self.recorder = recorder
        self.proc = proc
        self._ids = count()

    # ---- topics ------------------------------------------------------------------------------

    async def create_topic(self, topic: str, partitions: int = 1, **settings: Any) -> TopicInfo:
        """As the client's; the history learns of partitions and settings."""
        args = {"topic": topic, "partitions": partitions, "settings": settings}
        work = self.client.create_topic(topic, partitions, **settings)
        return await self.ask("create_topic", args, work, _nothing)

    # ---- publishing --------------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        key: bytes | None = None,
        meta: Meta | None = None,
        at: int | None = None,
        after: float | None = None,
        expires_at: int | None = None,
    ) -> PublishResult:
        """As the client's."""
        due_ms = at if after is None else self.recorder.wall_ms() + round(1000 * after)
        event = Event(
            payload=payload,
            schedule_ts=due_ms,
            message_id=message_id,
            key=key,
            meta=meta or {},
            relative=after is not None,
            expires_ts=expires_at,
        )
        [result] = await self.publish_many(topic, (event,))
        return result

    async def publish_many(
        self, topic: str, events: Iterable[Event], *, acks: str | None = None
    ) -> list[PublishResult]:
        """As the client's. An event without an id gets one here, as it would there."""
        named = [event if event.message_id else self._named(event) for event in events]
        args = {"topic": topic, **_published(named)}
        work = self.client.publish_many(topic, named, acks=acks)
        # What only the leader has on disk may be lost with it: the history takes no such answer for one.
        certain = acks != "leader"
        return await self.ask("publish", args, work, _stored, events=len(named), certain=certain)

    # ---- stored events -----------------------------------------------------------------------

    async def get(
        self, topic: str, message_id: str, *, key: bytes | None = None
    ) -> StoredEvent | None:
        """As the client's."""
        args = _one(topic, message_id, key)
        work = self.client.get(topic, message_id, key=key)
        return await self.ask("get", args, work, _found)

    async def cancel(
        self, topic: str, message_id: str, *, key: bytes | None = None
    ) -> ChangeResult:
        """As the client's."""
        args = _one(topic, message_id, key)
        work = self.client.cancel(topic, message_id, key=key)
        return await self.ask("cancel", args, work, _changed)

    async def reschedule(
        self, topic: str, message_id: str, *, at: int | None = None, key: bytes | None = None
    ) -> ChangeResult:
        """As the client's; without `at`, now."""
        args = {**_one(topic, message_id, key), "due": at}
        work = self.client.reschedule(topic, message_id, at=at, key=key)
        return await self.ask("reschedule", args, work, _changed)

    async def cancel_where(
        self,
        topic: str,
        *,
        start: int | None = None,
        end: int | None = None,
        key: bytes | None = None,
        dry_run: bool = False,
    ) -> int:
        """As the client's."""
        args = {**_range(topic, start, end, key), "dry_run": dry_run}
        work = self.client.cancel_where(topic, start=start, end=end, key=key, dry_run=dry_run)
        return await self.ask("cancel_where", args, work, _count)

    async def count_pending(
        self,
        topic: str,
        *,
        start: int | None = None,
        end: int | None = None,
        key: bytes | None = None,
    ) -> int:
        """As the client's."""
        args = _range(topic, start, end, key)
        work = self.client.count_pending(topic, start=start, end=end, key=key)
        return await self.ask("count_pending", args, work, _count)

    async def pending(
        self,
        topic: str,
        *,
        start: int | None = None,
        end: int | None = None,
        key: bytes | None = None,
    ) -> list[StoredEvent]:
        """All that the client's iterator gives."""

        async def listed() -> list[StoredEvent]:
            rows = self.client.pending(topic, start=start, end=end, key=key)
            return [row async for row in rows]

        return await self.ask("pending", _range(topic, start, end, key), listed(), _rows)

    # ---- consuming ---------------------------------------------------------------------------

    @asynccontextmanager
    async def consume(
        self,
        topic: str,
        *,
        group: str,
        credits: int = 256,  # noqa: A002 - the contract's name
        mode: str = "ordered",
        start: str | int = "earliest",
        member: str | None = None,
    ) -> AsyncIterator[RecordedSubscription]:
        """As the client's; the deliveries are filed under the name `member`, this client's by default."""
        name = member or self.proc
        place = {"topic": topic, "group": group}
        joining = self.recorder.call(
            name, "join", {**place, "credits": credits, "mode": mode, "start": start}
        )
        joined = False
        try:
            async with self.client.consume(
                topic, group=group, credits=credits, mode=mode, start=start
            ) as inner:
                self.recorder.returned(joining, "ok")
                joined = True
                yield RecordedSubscription(self, inner, topic, group, name)
        except BaseException as error:
            if not joined:
                self.recorder.returned(joining, outcome_of(error), error=text_of(error))
            raise
        finally:
            if joined:
                self.recorder.saw("left", place, name)

    # ---- replay ------------------------------------------------------------------------------

    def replay(
        self,
        topic: str,
        *,
        by: str = "offset",
        start: int | None = None,
        end: int | None = None,
        partition: int | None = None,
        key: bytes | None = None,
        follow: bool = False,
    ) -> RecordedReplay:
        """As the client's; see `RecordedReplay.resumed` for going on behind an event."""
        terms: dict[str, Any] = {
            "by": by,
            "start": start,
            "end": end,
            "partition": partition,
            "key": key,
            "follow": follow,
        }
        return RecordedReplay(self, topic, terms)

    # ---- schedules ---------------------------------------------------------------------------

    async def put_schedule(self, name: str, topic: str, payload: bytes, *, every: float) -> None:
        """As the client's `schedules.put`: publishes events that are no publish call's."""
        content = content_of(None, {}, payload)
        args = {"name": name, "topic": topic, "content": content, "every_ms": round(1000 * every)}
        work = self.client.schedules.put(name, topic, payload, every=every)
        await self.ask("put_schedule", args, work, _nothing)

    async def pause_schedule(self, name: str) -> None:
        """As the client's `schedules.pause`."""
        work = self.client.schedules.pause(name)
        await self.ask("pause_schedule", {"name": name}, work, _nothing)

    # ---- groups ------------------------------------------------------------------------------

    async def group(self, topic: str, group: str) -> GroupInfo:
        """As the client's; the history learns of the cursors."""
        args = {"topic": topic, "group": group}
        return await self.ask("group", args, self.client.group(topic, group), _cursors)

    async def reset_group(
        self, topic: str, group: str, *, to: str | int, dry_run: bool = False, force: bool = False
    ) -> list[GroupMove]:
        """As the client's."""
        args = {"topic": topic, "group": group, "to": to, "dry_run": dry_run, "force": force}
        work = self.client.reset_group(topic, group, to=to, dry_run=dry_run, force=force)
        return await self.ask("reset_group", args, work, _moves)

    async def delete_group(self, topic: str, group: str) -> None:
        """As the client's."""
        args = {"topic": topic, "group": group}
        await self.ask("delete_group", args, self.client.delete_group(topic, group), _nothing)

    # ---- dead letters ------------------------------------------------------------------------

    async def redrive(self, topic: str, *, ids: Sequence[str] | None = None) -> int:
        """As the client's `dlq.redrive`: publishes events that are no publish call's."""
        args = {"topic": topic, "ids": ids}
        return await self.ask("redrive", args, self.client.dlq.redrive(topic, ids=ids), _count)

    async def purge(self, topic: str, *, ids: Sequence[str] | None = None) -> int:
        """As the client's `dlq.purge`."""
        args = {"topic": topic, "ids": ids}
        return await self.ask("purge", args, self.client.dlq.purge(topic, ids=ids), _count)

    async def ask(
        self,
        f: str,
        args: dict[str, Any],
        work: Awaitable[T],
        answer: Callable[[T], dict[str, Any]],
        *,
        proc: str = "",
        events: int = 1,
        certain: bool = True,
    ) -> T:
        """One call and its return; `answer` is what the history keeps of the result, if that is certain."""
        n = self.recorder.call(proc or self.proc, f, args)
        try:
            result = await work
        except BaseException as error:
            self.recorder.returned(n, outcome_of(error, events), error=text_of(error))
            raise
        if certain:
            self.recorder.returned(n, "ok", answer(result))
        else:
            self.recorder.returned(n, "unknown")
        return result

    def _named(self, event: Event) -> Event:
        return event.named(f"{self.proc}.{next(self._ids)}")


def _published(events: Sequence[Event]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "id": [event.message_id for event in events],
        "due": [event.schedule_ts for event in events],
        "content": [content_of(event.key, event.meta, event.payload) for event in events],
    }
    if any(event.key for event in events):
        columns["key"] = [_hex(event.key) for event in events]
    if any(event.relative for event in events):
        columns["relative"] = [int(event.relative) for event in events]
    if any(event.expires_ts is not None for event in events):
        columns["expires"] = [event.expires_ts for event in events]
    return columns


def _stored(results: Sequence[PublishResult]) -> dict[str, Any]:
    return {
        "partition": [result.partition for result in results],
        "offset": [result.offset for result in results],
        "duplicate": [int(result.duplicate) for result in results],
    }


def _one(topic: str, message_id: str, key: bytes | None) -> dict[str, Any]:
    return {"topic": topic, "id": message_id, "key": _hex(key)}


def _range(topic: str, start: int | None, end: int | None, key: bytes | None) -> dict[str, Any]:
    return {"topic": topic, "start": start, "end": end, "key": _hex(key)}


def _found(event: StoredEvent | None) -> dict[str, Any]:
    return {"state": None} if event is None else {"state": event.state, **_row(event)}


def _rows(events: Sequence[StoredEvent]) -> dict[str, Any]:
    rows = [_row(event) for event in events]
    names = ("partition", "offset", "id", "due", "content")
    return {name: [row[name] for row in rows] for name in names}


def _row(event: StoredEvent) -> dict[str, Any]:
    return {
        "partition": event.partition,
        "offset": event.offset,
        "id": event.message_id,
        "due": event.schedule_ts,
        "content": content_of(event.key, event.meta, event.payload),
    }


def _changed(result: ChangeResult) -> dict[str, Any]:
    return {"outcome": result.outcome}


def _count(count: int) -> dict[str, Any]:
    return {"count": count}


def _cursors(info: GroupInfo) -> dict[str, Any]:
    return {
        "partition": [part.partition for part in info.partitions],
        "low": [part.position for part in info.partitions],
        "end": [part.end for part in info.partitions],
    }


def _moves(moves: Sequence[GroupMove]) -> dict[str, Any]:
    return {
        "partition": [move.partition for move in moves],
        "low": [move.new_position for move in moves],
    }


def _nothing(_: object) -> dict[str, Any]:
    return {}


def _hex(key: bytes | None) -> str | None:
    return None if key is None else key.hex()
