"""CRC-32C. crcmod is the definition; google-crc32c is the same function, twenty times faster or more.

The fast one is used only if it agrees with the definition on every vector below.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from crcmod.predefined import mkPredefinedCrcFun

_VECTORS = (b"", b"\0" * 32, b"\xff" * 32, b"123456789", bytes(range(256)) * 17)


class Checksum(Protocol):
    """A function that continues a checksum."""

    def __call__(self, data: bytes, crc: int = 0, /) -> int:
        """The CRC-32C of ``data``, continuing from ``crc`` of the bytes before it."""


definition: Checksum = mkPredefinedCrcFun("crc-32c")


def agrees(candidate: Checksum) -> bool:
    """Whether a checksum equals the definition, whole and continued, on the test vectors."""
    return all(
        candidate(data, seed) == definition(data, seed)
        for data in _VECTORS
        for seed in (0, 0xE3069283, 0xFFFFFFFF)
    )


def accelerated() -> Checksum | None:
    """google-crc32c in C, or None where it is missing or is only its slow Python twin."""
    try:
        extend = import_module("google_crc32c.cext").extend
    except ImportError:
        return None

    def checksum(data: bytes, crc: int = 0, /) -> int:
        result: int = extend(crc, data)
        return result

    return checksum


def choose(candidate: Checksum | None) -> Checksum:
    """The candidate if there is one and it can be trusted, else the definition."""
    return candidate if candidate is not None and agrees(candidate) else definition


crc32c = choose(accelerated())
