"""New inputs out of old ones: small changes to bytes, as a bad cable, a bad program or a bad person makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

_EDGES: Final = (
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    127,
    128,
    255,
    256,
    4095,
    4096,
    65_535,
    65_536,
)
_HUGE: Final = (2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
#: How often a piece is repeated: nesting bombs need depth.
_TIMES: Final = (2, 3, 8, 64, 512)


class Mutator:
    """Makes inputs of at most `largest` bytes; `words` are what this format is made of."""

    def __init__(self, random: Random, words: Sequence[bytes], largest: int) -> None:
        self._random = random
        self._words = words
        self._largest = largest
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._set_byte,
            self._set_number,
            self._cut,
            self._remove,
            self._repeat,
            self._insert_noise,
            self._insert_word,
            self._overwrite_word,
        )

    def mutated(self, data: bytes, other: bytes) -> bytes:
        """`data` changed in one to eight ways, now and then crossed with `other`."""
        random = self._random
        changed = bytearray(self._crossed(data, other) if random.random() < 0.1 else data)
        for _ in range(1 << random.randrange(4)):
            random.choice(self._ways)(changed)
        return bytes(changed[: self._largest])

    def _crossed(self, data: bytes, other: bytes) -> bytes:
        return data[: self._place(data)] + other[self._place(other) :]

    def _place(self, data: bytes | bytearray) -> int:
        return self._random.randint(0, len(data))

    def _piece(self, data: bytearray) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + 1 + int(self._random.expovariate(1 / 8)))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _set_byte(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.randrange(256)

    def _set_number(self, data: bytearray) -> None:
        random = self._random
        width = random.choice((1, 2, 4, 8))
        value = random.choice(_EDGES if width < 4 else (*_EDGES, *_HUGE)) % (1 << 8 * width)
        at = random.randint(0, max(0, len(data) - width))
        data[at : at + width] = value.to_bytes(width, random.choice(("little", "big")))

    def _cut(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _remove(self, data: bytearray) -> None:
        start, stop = self._piece(data)
        del data[start:stop]

    def _repeat(self, data: bytearray) -> None:
        start, stop = self._piece(data)
        data[stop:stop] = data[start:stop] * self._random.choice(_TIMES)

    def _insert_noise(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = self._random.randbytes(self._random.randint(1, 8))

    def _insert_word(self, data: bytearray) -> None:
        if self._words:
            at = self._place(data)
            data[at:at] = self._random.choice(self._words)

    def _overwrite_word(self, data: bytearray) -> None:
        if self._words:
            word, at = self._random.choice(self._words), self._place(data)
            data[at : at + len(word)] = word
