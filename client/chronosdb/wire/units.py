"""Durations and sizes as people write them: `30s`, `7d`, `512MB`, `64KiB`. A unit is never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

#: Milliseconds of each unit, smallest first.
DURATION_UNITS: Final[Mapping[str, int]] = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}
#: Bytes of each unit, smallest first.
SIZE_UNITS: Final[Mapping[str, int]] = {
    "B": 1,
    "KB": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "GB": 10**9,
    "GiB": 2**30,
    "TB": 10**12,
    "TiB": 2**40,
}

#: More is kept nowhere, and could be written in digits that are not read back.
_MOST: Final = 2**63 - 1
#: Digits are bounded so that a hostile number cannot make the arithmetic slow.
_QUANTITY: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)", re.ASCII)


def parse_duration_ms(text: str) -> int:
    """Milliseconds of `text`, such as "250ms", "1.5h" or "7d"; "0" needs no unit.

    Raises:
        ValueError: no number, no unit or an unknown one, a fraction of a millisecond, or 2^63 of them.
    """
    return _parse(text, DURATION_UNITS, "duration", "30s")


def parse_size_bytes(text: str) -> int:
    """Bytes of `text`, such as "512MB" (10^6) or "64KiB" (2^10); "0" needs no unit.

    Raises:
        ValueError: no number, no unit or an unknown one, a fraction of a byte, or 2^63 of them.
    """
    return _parse(text, SIZE_UNITS, "size", "64MiB")


def format_duration(ms: int) -> str:
    """The shortest exact way to write `ms`; `parse_duration_ms` reads it back."""
    return _format(ms, DURATION_UNITS, "s")


def format_size(nbytes: int) -> str:
    """The shortest exact way to write `nbytes`; `parse_size_bytes` reads it back."""
    return _format(nbytes, SIZE_UNITS, "B")


def _parse(text: str, units: Mapping[str, int], noun: str, example: str) -> int:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f'"{text}" is not a {noun}; write a number and a unit, such as "{example}"'
        )
    number, unit = match.groups()
    if unit not in units and Decimal(number) != 0:
        lacking = f'unknown unit "{unit}"' if unit else "no unit"
        raise ValueError(f'"{text}" has {lacking}; a {noun} ends in one of {", ".join(units)}')
    value = Decimal(number) * units.get(unit, 1)
    if value > _MOST:
        raise ValueError(f'"{text}" is too much: the most is {_MOST} {next(iter(units))}')
    if value != int(value):
        raise ValueError(f'"{text}" is not a whole number of {next(iter(units))}')
    return int(value)


def _format(value: int, units: Mapping[str, int], unit_of_zero: str) -> str:
    assert value >= 0
    if value == 0:
        return f"0{unit_of_zero}"
    exact = [(value // factor, unit) for unit, factor in units.items() if value % factor == 0]
    number, unit = min(exact, key=lambda choice: choice[0])
    return f"{number}{unit}"
