"""The node's own threads: what is handed over comes back, whatever becomes of who waits."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from chronosdb.node.threads import _THREADS, WorkerThreads

#: Beyond any wait of these tests: one that hangs fails.
WAIT_S = 10


def in_trio(story: Callable[[WorkerThreads], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(WAIT_S):
            await story(WorkerThreads())

    trio.run(bounded)


def test_a_call_runs_beside_the_event_loop_and_its_result_comes_back() -> None:
    """Another thread computes it."""

    async def story(threads: WorkerThreads) -> None:
        assert await threads.run(divmod, 17, 5) == (3, 2)
        assert await threads.run(threading.get_ident) != threading.get_ident()

    in_trio(story)


def test_an_error_of_any_kind_is_raised_where_the_call_was_made() -> None:
    """The very exception; and the thread goes on."""

    async def story(threads: WorkerThreads) -> None:
        error = SystemExit(3)

        def fail() -> None:
            raise error

        with pytest.raises(SystemExit) as caught:
            await threads.run(fail)
        assert caught.value is error
        assert await threads.run(int) == 0

    in_trio(story)


def test_calls_one_after_the_other_share_a_thread() -> None:
    """The last used is used next."""

    async def story(threads: WorkerThreads) -> None:
        assert len({await threads.run(threading.get_ident) for _ in range(10)}) == 1

    in_trio(story)


def test_who_is_cancelled_waits_for_the_end_of_the_call() -> None:
    """An fsync that is under way is not abandoned: what it came to is known."""

    async def story(threads: WorkerThreads) -> None:
        began, may_end = trio.Event(), threading.Event()
        token = trio.lowlevel.current_trio_token()
        ended: list[bool] = []

        def work() -> bool:
            token.run_sync_soon(began.set)
            return may_end.wait(WAIT_S)

        async def wait(scope: trio.CancelScope) -> None:
            with scope:
                ended.append(await threads.run(work))

        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(wait, scope)
            await began.wait()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert not ended
            may_end.set()
        assert ended == [True]

    in_trio(story)


def test_who_is_cancelled_already_begins_nothing() -> None:
    """Cancellation is heard before a call, not in it."""

    async def story(threads: WorkerThreads) -> None:
        begun: list[int] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            await threads.run(begun.append, 1)
        assert scope.cancelled_caught
        assert not begun

    in_trio(story)


def test_calls_beyond_the_limit_wait_for_a_thread() -> None:
    """However much is asked for, there are so many threads."""

    async def story(threads: WorkerThreads) -> None:
        full = threading.Barrier(_THREADS)
        idents: set[int] = set()

        def work() -> None:
            idents.add(threading.get_ident())
            full.wait(WAIT_S)

        async with trio.open_nursery() as nursery:
            for _ in range(2 * _THREADS):
                nursery.start_soon(threads.run, work)
        assert len(idents) == _THREADS

    in_trio(story)


def test_threads_end_with_what_they_belong_to() -> None:
    """A process that makes many environments does not gather threads."""
    found: list[threading.Thread] = []

    async def story(threads: WorkerThreads) -> None:
        found.append(await threads.run(threading.current_thread))

    in_trio(story)
    gc.collect()
    found[0].join(WAIT_S)
    assert not found[0].is_alive()


def test_an_idle_thread_keeps_nothing_alive() -> None:
    """What a call was given and gave is gone with who asked."""

    class Thing:
        pass

    async def story(threads: WorkerThreads) -> None:
        thing = Thing()
        last = weakref.ref(thing)
        await threads.run(id, thing)
        del thing
        await threads.run(int)  # the thread has come back for this one: it let go of the other
        assert last() is None

    in_trio(story)
