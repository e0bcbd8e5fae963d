"""Tasks that run beside a block of user code and end with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """A task group that is cancelled when the block ends.

    Unlike a plain task group it lets the block's own exception pass as it is: a user who raises
    ValueError inside `async with connect(…)` must not catch an ExceptionGroup outside. The group is
    therefore closed as if the block had succeeded, while the exception is on its way.
    """
    tasks = anyio.create_task_group()
    await tasks.__aenter__()
    try:
        yield tasks
    finally:
        tasks.cancel_scope.cancel()
        await tasks.__aexit__(None, None, None)
