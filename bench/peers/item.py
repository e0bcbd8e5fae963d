"""An event as a peer sees it: the payload itself says which one it is and when it is due."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from bench.load import PAYLOAD_BYTES, Load, payload

#: What a payload begins with: number, due time in ms.
HEAD: Final = struct.Struct(">Qq")


class Item(NamedTuple):
    """`due_ms` 0: at once."""

    number: int
    due_ms: int
    payload: bytes


def item(number: int, due_ms: int) -> Item:
    """As many random bytes as any event of the bench has, but for the head."""
    return Item(number, due_ms, HEAD.pack(number, due_ms) + payload(number)[HEAD.size :])


def batches(load: Load) -> Iterator[list[Item]]:
    """The events of a load, made as they are asked for."""
    end = load.first + load.count
    for start in range(load.first, end, load.batch):
        numbers = range(start, min(start + load.batch, end))
        if load.due_ms is None:
            yield [item(number, 0) for number in numbers]
        else:
            yield [
                item(number, load.due_ms + int(random.random() * load.span_ms))
                for number in numbers
            ]


assert HEAD.size < PAYLOAD_BYTES, "a payload must hold its head"
