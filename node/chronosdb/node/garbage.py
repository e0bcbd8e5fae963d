"""The collector of cycles, told that what a node has it keeps.

A full collection looks at every object of every partition: a third of a second with a thousand of them, in
which nothing else runs and no heartbeat is sent. Nearly everything here dies without the collector.
"""

from __future__ import annotations

import gc
from typing import Final

#: A young collection after so many objects more, an older one after so many of the younger.
_THRESHOLDS: Final = (10_000, 20, 20)


def collect_rarely() -> None:
    """From now on, in the whole process."""
    gc.set_threshold(*_THRESHOLDS)


def keep_what_there_is() -> None:
    """Whatever exists now is never looked at again: once a node is up, it is there to stay."""
    gc.freeze()
