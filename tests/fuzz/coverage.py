"""Which way a run took through our own code: pairs of lines that ran one behind the other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

#: Room for the line numbers of one file.
_LINES: Final = 1 << 14


class Arcs:
    """Collects the arcs of whatever runs inside `with arcs:`.

    By sys.settrace, which every Python has: about ten times slower than not looking, and only in the files
    that are ours. What runs in C (msgspec, numpy) is not seen: targets return *features* for that.
    """

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours
        self.found: set[int] = set()
        #: A number for each of our functions; None for the others.
        self._codes: dict[CodeType, int | None] = {}
        self._before = 0

    def __enter__(self) -> None:
        self.found = set()
        self._before = 0
        sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if code not in self._codes:
            self._codes[code] = len(self._codes) if self._is_ours(code.co_filename) else None
        return None if self._codes[code] is None else self._line

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            here = (self._codes[frame.f_code] or 0) * _LINES + frame.f_lineno
            self.found.add(self._before << 40 | here)
            self._before = here
        return self._line


def in_product(path: str) -> bool:
    """Whether a file is of what users run."""
    return "/chronosdb/" in path and "site-packages" not in path
