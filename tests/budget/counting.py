"""Counting what the interpreter does: bytecode instructions, by the part of the system that they are of.

A count says what a path costs on any machine, however busy: the same code takes the same instructions.
What C code does for one instruction (a hash, a copy, a system call) is not in it; loops in Python are.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType, TracebackType
from typing import Any, Final, Self, final

#: Parts by the folder that names them; the first that fits. What only tests have does not count.
_PARTS: Final = (
    ("/tests/", ""),
    ("/chronosdb/testing/", ""),
    ("/memory_kv.py", ""),
    ("/_mock_clock.py", ""),
    ("/trio/testing/", ""),
    ("/random.py", ""),
    ("/chronosdb/client/", "client"),
    ("/chronosdb/wire/", "wire"),
    ("/chronosdb/", "node"),
)
PARTS: Final = ("client", "wire", "node", "libraries")


@final
class Instructions:
    """Context manager: counts what this thread executes inside of it."""

    def __init__(self) -> None:
        self._by_code: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)

    def everything(self) -> Counter[str]:
        """Instructions by the file that they are in."""
        return self._by_code

    def by_part(self) -> dict[str, int]:
        """Instructions of each of PARTS."""
        parts: Counter[str] = Counter()
        for filename, count in self._by_code.items():
            parts[_part(filename)] += count
        return {name: parts[name] for name in PARTS}

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            self._by_code[frame.f_code.co_filename] += 1
        elif event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace


def _part(filename: str) -> str:
    for folder, part in _PARTS:
        if folder in filename:
            return part
    return "libraries"
