"""What is fuzzed: one way in for bytes that others chose, and what may come of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

#: What a run came to, beside the lines it took: which message, which complaint.
Feature: TypeAlias = Hashable


def as_it_is(data: bytes, random: Random) -> bytes:
    """No mending."""
    del random
    return data


@dataclass(frozen=True, slots=True)
class Target:
    """One way in.

    `run` does everything that may be done with `data`, and returns a feature. Errors that are
    documented it catches; whatever else it raises, a failed assert of its own included, is a finding.
    """

    name: str
    run: Callable[[bytes], Feature]
    #: Good inputs, small, made anew each time.
    seeds: Callable[[], Iterable[bytes]]
    #: Makes lengths and checksums right again, so that a change is seen by what lies behind them.
    mend: Callable[[bytes, Random], bytes] = as_it_is
    #: Pieces that the format is made of.
    words: tuple[bytes, ...] = ()
    #: Bytes; the longest input that is tried.
    largest: int = 4096
    #: Bytes of memory that a run may take at its peak, for each byte of input.
    memory_factor: int = 64


def complaint(error: Exception) -> Feature:
    """A feature: the kind of error and its words, without the numbers and quotations in it."""
    words = str(error).translate(_DIGITS).split('"')[0].split("'")[0]
    return type(error).__name__, words[:60]


_DIGITS = str.maketrans("", "", "0123456789-")
