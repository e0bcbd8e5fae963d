"""Where everything nondeterministic enters the client: clock, randomness, network.

A test hands in its own `Seams` and stream factory; nothing else in the client knows the difference.
Waits and deadlines use the event loop's clock, which a test can make virtual.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from anyio.abc import ByteStream

#: Opens a stream to (host, port); raises OSError when it cannot.
StreamFactory: TypeAlias = Callable[[str, int], Awaitable[ByteStream]]


def _system_now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Seams:
    """The client's sources of time and chance."""

    #: The wall clock, epoch ms: for `after=` and for the time part of new message ids.
    now_ms: Callable[[], int] = _system_now_ms
    #: n random bytes: for new message ids.
    random_bytes: Callable[[int], bytes] = os.urandom
    #: A float in [0, 1): jitter of back-off.
    unit: Callable[[], float] = random.random


async def open_tcp(host: str, port: int) -> ByteStream:
    """A TCP connection; tries every address of `host`, IPv6 and IPv4."""
    return await anyio.connect_tcp(host, port)
