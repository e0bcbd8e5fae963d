"""One run of the simulation: trouble for a while, then healing, then judgement."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import process_time
from traceback import format_exception
from typing import Final, final

import trio

from chronosdb.testing.machine import DATA_DIR
from chronosdb.wal import UnreadableRecord
from tests.proof.checker import check
from tests.proof.dump import dump
from tests.proof.dump_cluster import Holder, dump_cluster
from tests.proof.history import read_history
from tests.simulation.ending import Ending
from tests.simulation.leaping_clock import LeapingClock
from tests.simulation.nemesis import Nemesis
from tests.simulation.operator import Operator
from tests.simulation.people import Clerk, Member, Person, Publisher, Shelf
from tests.simulation.planner import Planner
from tests.simulation.swarm import Swarm, swarm
from tests.simulation.trace import EndlessRun, Trace
from tests.simulation.traces import Tracer
from tests.simulation.world import TOPIC, World
from tests.support.seeded_trio import schedule_by

#: How long the trouble lasts, in simulated seconds.
TROUBLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one run."""

    seed: int
    digest: str
    simulated_s: float
    #: Of one core.
    cpu_s: float
    #: Things in the trace; calls and sights in the history.
    events: int
    lines: int
    faults: Mapping[str, int]
    violations: tuple[str, ...]
    history: bytes = field(repr=False)


def run(
    seed: int,
    tell: Callable[[str], None] | None = None,
    trouble_s: float = TROUBLE_S,
    nodes: int = 1,
) -> Result:
    """The run of `seed` with so many nodes; `tell` hears its story."""
    began_s = process_time()
    clock = LeapingClock()
    trace = Trace(clock.current_time, tell)
    # A collection may close what a task left half-way, at a moment that other runs decide.
    gc.collect()
    gc.disable()
    schedule_by(seed)
    try:
        with _complaints() as complaints:
            peculiar = swarm(seed, nodes, trouble_s)
            world = trio.run(_live, peculiar, seed, clock, trace, trouble_s, clock=clock)
        history = world.history.getvalue()
        violations = [*world.violations, *complaints, *_judged(history)]
    except BaseException as error:
        if not _is_endless(error):
            raise
        history, violations = b"", [f"no end: it is still {clock.current_time()} s"]
    finally:
        gc.enable()
    trace.close(history)
    return Result(
        seed,
        trace.digest(),
        clock.current_time(),
        process_time() - began_s,
        trace.events,
        history.count(b"\n"),
        dict(trace.faults),
        tuple(violations),
        history,
    )


def _judged(history: bytes) -> list[str]:
    verdict = check(read_history(history.splitlines(keepends=True)))
    return [f"{one.invariant}: {one.text} (lines {one.proof})" for one in verdict.violations]


def _is_endless(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(EndlessRun) is not None
    return isinstance(error, EndlessRun)


async def _live(
    peculiar: Swarm, seed: int, clock: LeapingClock, trace: Trace, trouble_s: float
) -> World:
    async with trio.open_nursery() as nursery:
        world = World(seed, peculiar, clock, trace, nursery)
        trace.say("seed", seed, world.swarm)
        try:
            await _story(world, trouble_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            world.violation("".join(format_exception(error)))
        for computer in world.computers:
            await computer.kill()
        nursery.cancel_scope.cancel()
    return world


async def _story(world: World, trouble_s: float) -> None:
    people: list[Person] = []
    nemesis = Nemesis(world, people)
    people += _people(world, nemesis)
    world.recorder.saw("settings", dict(world.swarm.settings))
    await nemesis.begin()
    async with world.connected("founder") as db:
        await db.create_topic(TOPIC, world.swarm.partitions, **world.swarm.topic)
    async with trio.open_nursery() as living:
        publishing = trio.Event()
        living.start_soon(_until_all_have_ended, people, publishing)
        living.start_soon(Tracer(world).run)
        living.start_soon(nemesis.supervise)
        with trio.move_on_after(trouble_s):
            await nemesis.run()
        ending = Ending(world, nemesis)
        await ending.wait_until_quiet(publishing)
        living.cancel_scope.cancel()
    if world.swarm.thorough:
        await ending.rebuild_views()
    await ending.stop()
    _dump(world)


def _dump(world: World) -> None:
    if world.is_cluster:
        holders = {one.name: Holder(one.disk, DATA_DIR) for one in world.computers}
        dump_cluster(world.recorder, holders)
    else:
        dump(world.recorder, world.computers[0].disk, DATA_DIR)


async def _until_all_have_ended(people: list[Person], published: trio.Event) -> None:
    """Runs everybody; tells when nobody has anything left to publish."""

    async def publish() -> None:
        async with trio.open_nursery() as nursery:
            for person in people:
                if person.has_to_finish:
                    nursery.start_soon(person.live)
        published.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        for person in people:
            if not person.has_to_finish:
                nursery.start_soon(person.live)


def _people(world: World, nemesis: Nemesis) -> list[Person]:
    shelf = Shelf()
    people: list[Person] = [
        Publisher(world, f"publisher-{n}", shelf) for n in range(world.swarm.publishers)
    ]
    for group, mode, members in world.swarm.groups:
        people += [Member(world, f"{group}-{n}", group, mode) for n in range(members)]
    people += [Planner(world, f"planner-{n}") for n in range(world.swarm.planners)]
    if world.swarm.operated_s:
        people.append(Operator(world, "operator", nemesis))
    return [*people, Clerk(world, "clerk", shelf)]


def only_of_disk(error: BaseException) -> bool:
    """Whether nothing but the disk's own errors is in it."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(only_of_disk, error.exceptions))
    return isinstance(error, OSError | UnreadableRecord)


@final
class _Complaints(logging.Handler):
    """Errors in the node's log: bugs that it survived."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else _told(record)
        if error is None or not only_of_disk(error):
            cause = "".join(format_exception(error)) if error else ""
            self.texts.append(f"the node complains: {record.getMessage()}\n{cause}")


def _told(record: logging.LogRecord) -> BaseException | None:
    """The error that a line is about."""
    told = record.args if isinstance(record.args, tuple) else ()
    return next((one for one in told if isinstance(one, BaseException)), None)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    handler, logger = _Complaints(), logging.getLogger("chronosdb")
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
