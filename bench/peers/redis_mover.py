"""Moves what is due from the sorted set to the stream each millisecond: `… redis_mover PORT`.

This is the part that users of Redis write themselves; it ends when the server does.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Final

from bench.errors import BenchError
from bench.peers.redis import Dialogue

#: Moved in one call of the script, and the pause once nothing more is due.
MOVED: Final = 1000
PAUSE_S: Final = 0.001

_MOVE: Final = b"""
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for i = 1, #due do redis.call('XADD', KEYS[2], '*', 'p', due[i]) end
if #due > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #due - 1) end
return #due
"""


def move(port: int) -> None:
    """For as long as the server serves."""
    with Dialogue(port) as redis:
        script = redis.ask(b"SCRIPT", b"LOAD", _MOVE)
        while True:
            moved = redis.ask(b"EVALSHA", script, b"2", b"due", b"out", b"%d" % MOVED)
            if moved < MOVED:
                time.sleep(PAUSE_S)


if __name__ == "__main__":
    with contextlib.suppress(OSError, BenchError):
        move(int(sys.argv[1]))
