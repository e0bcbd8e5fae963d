"""The buffered publisher: single events in, batches out, results for each."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from chronosdb.client.buffered import BufferedPublisher
from chronosdb.client.results import PublishResult
from chronosdb.client.seams import Seams
from chronosdb.wire import Event
from chronosdb.wire.errors import Conflict, InvalidArgument, Timeout
from tests.client.virtual_time import both_backends


class Broker:
    """Stores what it is given in 10 ms; refuses a batch with an event called "bad"."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.stored: list[str] = []
        self.down = False

    async def publish(self, events: Sequence[Event]) -> list[PublishResult]:
        """See `Client.publish_many`."""
        ids = [event.message_id or "" for event in events]
        self.batches.append(ids)
        await anyio.sleep(0.01)
        if self.down:
            raise Timeout("no answer")
        if any(i.startswith("bad") for i in ids):
            raise Conflict("taken")
        self.stored += ids
        return [PublishResult(i, 0, n, duplicate=False) for n, i in enumerate(ids)]


def publisher(
    broker: Broker, tasks: anyio.abc.TaskGroup, *, max_batch: int = 100, max_buffered: int = 1000
) -> BufferedPublisher:
    return BufferedPublisher(
        broker.publish,
        tasks,
        Seams(),
        linger=0.005,
        max_batch=max_batch,
        max_buffered=max_buffered,
    )


@both_backends
async def test_events_of_one_moment_travel_together() -> None:
    """What is sent within the linger is one batch; each gets its own result."""
    broker = Broker()
    async with anyio.create_task_group() as tasks:
        buffered = publisher(broker, tasks)
        handles = [await buffered.send(b"", message_id=f"e{n}") for n in range(30)]
        results = [await handle for handle in handles]
    assert broker.batches == [[f"e{n}" for n in range(30)]]
    assert [r.message_id for r in results] == broker.stored


@both_backends
async def test_a_full_batch_does_not_linger() -> None:
    """No batch is larger than it may be, and none waits when it is full."""
    broker = Broker()
    async with anyio.create_task_group() as tasks:
        buffered = publisher(broker, tasks, max_batch=10)
        started_s = anyio.current_time()
        for n in range(25):
            await buffered.send(b"", message_id=f"e{n}")
        await buffered.flush()
        assert anyio.current_time() - started_s < 0.06
    assert max(map(len, broker.batches)) <= 10
    assert sorted(broker.stored) == sorted(f"e{n}" for n in range(25))


@both_backends
async def test_one_refused_event_spoils_none_of_the_others() -> None:
    """The batch is sent again without it; ids stay, so that nothing is stored twice."""
    broker = Broker()
    async with anyio.create_task_group() as tasks:
        buffered = publisher(broker, tasks)
        names = ["a", "bad1", "b", "c", "bad2", "d"]
        handles = {n: await buffered.send(b"", message_id=n) for n in names}
        unnamed = await buffered.send(b"")
        await buffered.flush()
        for name in ("bad1", "bad2"):
            with pytest.raises(Conflict):
                await handles[name]
        assert (await unnamed).message_id in broker.stored
    assert sorted(broker.stored)[1:] == ["a", "b", "c", "d"]


@both_backends
async def test_sending_waits_while_too_much_is_under_way() -> None:
    """Back-pressure: no more than `max_buffered` events are without a result."""
    broker = Broker()
    async with anyio.create_task_group() as tasks:
        buffered = publisher(broker, tasks, max_buffered=5)
        handles = [await buffered.send(b"") for _ in range(5)]
        with anyio.move_on_after(0.001) as patience:
            await buffered.send(b"")
        assert patience.cancelled_caught
        assert not any(handle.done for handle in handles)
        await buffered.send(b"")
        assert all(handle.done for handle in handles)
        await buffered.flush()


@both_backends
async def test_an_outage_is_the_error_of_every_event_it_met() -> None:
    """Nothing is tried twice here: the client below has done so within its deadline."""
    broker = Broker()
    broker.down = True
    async with anyio.create_task_group() as tasks:
        buffered = publisher(broker, tasks)
        handles = [await buffered.send(b"") for _ in range(3)]
        await buffered.flush()
        for handle in handles:
            with pytest.raises(Timeout):
                await handle
    assert len(broker.batches) == 1


@both_backends
async def test_a_bad_argument_is_an_error_of_its_call() -> None:
    """It takes no room and reaches no batch."""
    broker = Broker()
    async with anyio.create_task_group() as tasks:
        buffered = publisher(broker, tasks, max_buffered=1)
        with pytest.raises(InvalidArgument):
            await buffered.send(b"", key=b"")
        with pytest.raises(TypeError):
            await buffered.send(b"", at=1, after=1.0)
        await buffered.send(b"")
        await buffered.flush()
    assert len(broker.stored) == 1
