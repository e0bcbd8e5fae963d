"""Plain data (what msgpack can carry) with one value somewhere inside changed."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import msgpack

_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64 - 1),
    *(
        1.5,
        float("nan"),
        float("inf"),
        "",
        "..",
        "a\n",
        "x" * 250,
        "é",
        "earliest",
        "all",
        "scheduled",
    ),
    *(b"", b"x", bytes(7), bytes(16), bytes(129), b"\xff" * 20, [], {}, [[]], {"a": 1}, [0] * 20),
)


def changed(plain: Any, random: Random, otherwise: bytes) -> bytes:
    """The bytes of `plain` with a change; `otherwise` if msgpack cannot carry it."""
    try:
        packed: bytes = msgpack.packb(_changed(plain, random, 0))
    except (ValueError, TypeError, OverflowError):
        return otherwise
    return packed


def _changed(plain: Any, random: Random, depth: int) -> Any:
    if isinstance(plain, list) and plain and random.random() < 0.9 and depth < 20:
        return _changed_list(plain, random, depth)
    if isinstance(plain, dict) and plain and random.random() < 0.8 and depth < 20:
        key = random.choice(list(plain))
        return {**plain, key: _changed(plain[key], random, depth + 1)}
    return _other(plain, random)


def _changed_list(plain: list[Any], random: Random, depth: int) -> list[Any]:
    at = random.randrange(len(plain))
    match random.randrange(12):
        case 0:
            return plain[:at]
        case 1:
            return [*plain, random.choice(_VALUES)]
        case 2:
            return plain[:at] + plain[at + 1 :]
        case 3:
            return plain[:at] + [plain[at]] * random.choice((2, 20, 300)) + plain[at + 1 :]
        case _:
            return [*plain[:at], _changed(plain[at], random, depth + 1), *plain[at + 1 :]]


def _other(plain: Any, random: Random) -> Any:
    if isinstance(plain, int) and random.random() < 0.6:
        return random.choice((plain + 1, plain - 1, -plain, plain * 2, random.getrandbits(6), 99))
    if isinstance(plain, bytes) and plain and random.random() < 0.6:
        at = random.randrange(len(plain))
        noise = random.randbytes(random.randint(0, 2))
        return plain[:at] + noise + plain[at + random.randint(0, 2) :]
    if isinstance(plain, str) and plain and random.random() < 0.6:
        at = random.randrange(len(plain))
        return (
            plain[:at]
            + random.choice(("", " ", "/", "*", "9", "L", "-", "é", "\0"))
            + plain[at + 1 :]
        )
    return random.choice(_VALUES)
