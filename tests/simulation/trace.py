"""The trace of a run: everything the node exchanged with its world, in order, as one digest.

Two runs with equal digests read the same clocks, sent the same bytes, and called the disk alike. What
people want to know of a run, its story, is kept beside it only when asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, final

#: A run notes some ten thousand things. One that notes so many will never end.
_EVENTS_MAX: Final = 1_000_000


class EndlessRun(BaseException):
    """The run turns in a circle. Nobody in it may take this for an error of the world's."""


@final
class Trace:
    """`now_s` is the virtual time; `tell`, if given, hears the story line by line."""

    def __init__(
        self, now_s: Callable[[], float], tell: Callable[[str], None] | None = None
    ) -> None:
        self._now_s = now_s
        self._tell = tell
        self._hash = blake2b(digest_size=16)
        #: How often each kind of fault was injected.
        self.faults: Counter[str] = Counter()
        #: Things noted.
        self.events = 0

    def note(self, what: str, *details: object) -> None:
        """Something happened between the node and its world."""
        self.events += 1
        if self.events > _EVENTS_MAX:
            raise EndlessRun
        update = self._hash.update
        update(f"\n{self._now_s():.9f} {what}".encode())
        for detail in details:
            update(detail if isinstance(detail, bytes) else f" {detail}".encode())

    def fault(self, kind: str, *details: object) -> None:
        """The nemesis did something."""
        self.faults[kind] += 1
        self.note(kind, *details)
        self.say(kind, *details)

    def say(self, *words: object) -> None:
        """A line of the story."""
        if self._tell is not None:
            self._tell(f"{self._now_s():10.4f}  {' '.join(map(str, words))}")

    def close(self, history: bytes) -> None:
        """The history is the last part of it."""
        self._hash.update(history)

    def digest(self) -> str:
        """Of everything noted so far."""
        return self._hash.hexdigest()
