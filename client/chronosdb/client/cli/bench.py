"""`chronos bench`: how fast, and how punctual, is the node that runs?

A topic of its own is made, filled and emptied through the public client, as an application would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

import anyio
import click

from chronosdb.client import Client, DeliveryBatch, NotFound
from chronosdb.client.cli.bench_figures import Round, Spread, spreads
from chronosdb.client.cli.context import App, Command, pass_app
from chronosdb.client.cli.exits import Exit, Failure
from chronosdb.client.cli.output import Advance, counted
from chronosdb.client.cli.values import format_bytes, parsed_by
from chronosdb.client.seams import Seams
from chronosdb.wire import Event
from chronosdb.wire.limits import MAX_BATCH_EVENTS, MAX_PAYLOAD_BYTES
from chronosdb.wire.units import format_duration, parse_duration_ms

#: Batches on their way at one time.
_CALLERS: Final = 8
_CREDITS: Final = 20_000
_BATCH_EVENTS: Final = 1000
_GROUP: Final = "bench"
#: Beyond the delay: an event that has not come by then does not come.
_PATIENCE_S: Final = 30
_CLEAN_UP_S: Final = 10


@dataclass(frozen=True, slots=True)
class Load:
    """What to do, and how often."""

    events: int
    payload: bytes
    batch: int
    delay_ms: int
    rounds: int


@click.command(cls=Command)
@click.option(
    "--events",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="Events of a round.",
)
@click.option(
    "--size",
    type=click.IntRange(0, MAX_PAYLOAD_BYTES),
    default=256,
    show_default=True,
    help="Bytes of a payload.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, MAX_BATCH_EVENTS),
    default=1000,
    show_default=True,
    help=f"Events of a publish; {_CALLERS} are on their way at a time.",
)
@click.option(
    "--delay",
    "delay_ms",
    metavar="DURATION",
    default="0s",
    show_default=True,
    callback=parsed_by(parse_duration_ms),
    help="From publishing an event to its due time. Longer than a round's publishing takes, it keeps"
    " publishing and delivering apart.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=3, show_default=True, help="How often."
)
@click.option("--topic", "name", help="The topic to make; it must not exist.  [bench-…]")
@click.option("--keep", is_flag=True, help="Leave the topic and its events there.")
@pass_app
def bench(
    app: App,
    *,
    events: int,
    size: int,
    batch: int,
    delay_ms: int,
    rounds: int,
    name: str | None,
    keep: bool,
) -> None:
    """Publish to a topic made for this, consume it meanwhile, and say how fast that was.

    Published: acked, so on disk. Delivered: received and acked, from when the first event could be
    due. Late: by the node's clock, until it sent the event. Client, network and other load take part.
    """
    seams = Seams()
    topic = name or f"bench-{seams.random_bytes(4).hex()}"
    load = Load(events, seams.random_bytes(size), batch, delay_ms, rounds)

    async def measure(db: Client) -> list[Round]:
        async with _own_topic(db, topic, keep=keep):
            with app.output.progress(f"bench {topic}", rounds * events * max(size, 1)) as advance:
                return await Bench(db, topic, load, advance).run()

    _report(app, topic, load, app.run(measure))


@dataclass(slots=True)
class Bench:
    """Rounds in a topic of one partition, one after the other, with one consumer throughout."""

    db: Client
    topic: str
    load: Load
    advance: Advance
    #: The one that is under way.
    _round: Round = field(init=False)

    async def run(self) -> list[Round]:
        """The rounds, complete.

        Raises:
            Failure: an event did not come, or came early.
        """
        done: list[Round] = []
        # Joined before anything is published: nothing is late because nobody was there.
        async with self.db.consume(self.topic, group=_GROUP, credits=_CREDITS) as events:
            batches = events.batches(_BATCH_EVENTS)
            for number in range(self.load.rounds):
                self._round = Round(self.load.events, number * self.load.events)
                started_s = anyio.current_time()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._publish)
                    await self._receive(batches)
                    due_s = started_s + self.load.delay_ms / 1000
                    self._round.deliver_s = max(anyio.current_time() - due_s, 1e-6)
                done.append(self._round)
        return done

    async def _publish(self) -> None:
        started_s = anyio.current_time()
        whole, rest = divmod(self.load.events, self.load.batch)
        sizes = iter([*repeat(self.load.batch, whole), *([rest] if rest else [])])

        async def caller() -> None:
            for count in sizes:
                await self.db.publish_many(self.topic, self._events(count))

        async with anyio.create_task_group() as callers:
            for _ in range(_CALLERS):
                callers.start_soon(caller)
        self._round.publish_s = max(anyio.current_time() - started_s, 1e-6)

    def _events(self, count: int) -> list[Event]:
        delay_ms = self.load.delay_ms
        due_ms = Seams().now_ms() + delay_ms if delay_ms else None
        return [Event(payload=self.load.payload, schedule_ts=due_ms, relative=True)] * count

    async def _receive(self, batches: AsyncIterator[DeliveryBatch]) -> None:
        one, size = self._round, max(len(self.load.payload), 1)
        while one.missing:
            batch = None
            with anyio.move_on_after(self.load.delay_ms / 1000 + _PATIENCE_S):
                batch = await anext(batches)
            if batch is None:
                raise Failure(f"{counted(one.missing, 'event')} did not come; is a node down?")
            for event in batch:
                one.received(event.offset, event.lateness_ms)
            await batch.ack()
            self.advance(len(batch) * size, counted(one.events - one.missing, "event"))
        if one.early:
            raise Failure(f"{counted(one.early, 'event')} came early: please report it")


@asynccontextmanager
async def _own_topic(db: Client, name: str, *, keep: bool) -> AsyncIterator[None]:
    """A topic that was not there before, and is not afterwards, whatever happens meanwhile."""
    try:
        await db.topic(name)
    except NotFound:
        await db.create_topic(name)
    else:
        raise Failure(f'topic "{name}" exists; name one that does not, or none', Exit.CONFLICT)
    try:
        yield
    finally:
        if not keep:
            with anyio.move_on_after(_CLEAN_UP_S, shield=True):
                await db.delete_topic(name)


def _report(app: App, topic: str, load: Load, rounds: list[Round]) -> None:
    figures = [one.figures() for one in rounds]
    over_all = spreads(figures)
    repeated = sum(one.repeated for one in rounds)
    if app.json:
        facts: dict[str, Any] = {
            "topic": topic,
            "events": load.events,
            "size": len(load.payload),
            "batch": load.batch,
            "delay_ms": load.delay_ms,
            "rounds": figures,
            **{kind: {n: getattr(s, kind) for n, s in over_all.items()} for kind in Spread._fields},
            "repeated": repeated,
            "early": 0,
        }
        app.output.json(facts)
        return
    due = f"due {format_duration(load.delay_ms)} later" if load.delay_ms else "due at once"
    size = format_bytes(len(load.payload))
    events = f"{counted(load.events, 'event')} of {size}, {load.batch:,} to a publish"
    app.output.text([f"{counted(len(rounds), 'round')}: {events}, {due}; none early"])
    if repeated:
        app.output.text([f"{counted(repeated, 'event')} came more than once"])
    rows = [(name.replace("_", " "), *map(_shown, spread)) for name, spread in over_all.items()]
    app.output.table(("figure", *Spread._fields), rows)


def _shown(value: float) -> str:
    return f"{value:,.0f}"
