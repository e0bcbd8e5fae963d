"""The history of a test: one JSON line for everything that was asked of a node, answered, or seen.

======== =========================================== ==========================================
line     fields                                      meaning
======== =========================================== ==========================================
call     n, t_ns, wall_ms, proc, f, args             `proc` asks for `f`
return   n, t_ns, wall_ms, outcome, ret, error       how call `n` ended
sight    t_ns, wall_ms, proc, f, seen                something that nobody asked for
======== =========================================== ==========================================

`t_ns` is one monotonic clock for the whole history, `wall_ms` the wall clock beside it. `outcome` is "ok",
"fail" (the node said that nothing was done) or "unknown" (no answer, or one that does not say). What
`args`, `ret` and `seen` hold is in README.md. Many events are one line with a column for each field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec

from chronosdb.wire.event import Meta

Outcome = Literal["ok", "fail", "unknown"]


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line: a call has `args`, a return has `outcome`, a sight has `seen`."""

    #: Joins a call and its return; -1 in a sight.
    n: int = -1
    t_ns: int
    wall_ms: int
    proc: str = ""
    f: str = ""
    args: dict[str, Any] | None = None
    outcome: Outcome | None = None
    ret: dict[str, Any] | None = None
    #: Code and text of the error that was raised, if one was.
    error: str = ""
    seen: dict[str, Any] | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


class Recorder:
    """Writes a history.

    `now_ns` is monotonic; `wall_ms` is the wall clock of the node's machine, in simulation too. With
    `flush`, each line is given to the operating system at once, so that a killed test leaves it.
    """

    def __init__(
        self,
        sink: IO[bytes],
        now_ns: Callable[[], int],
        wall_ms: Callable[[], int],
        *,
        flush: bool = False,
    ) -> None:
        self.wall_ms = wall_ms
        self.lines = 0
        self._sink = sink
        self._now_ns = now_ns
        self._flush = flush
        self._calls = 0

    def call(self, proc: str, f: str, args: dict[str, Any]) -> int:
        """`proc` is about to ask for `f`; the number to give to `returned`."""
        self._calls += 1
        self._write(
            Line(
                n=self._calls,
                t_ns=self._now_ns(),
                wall_ms=self.wall_ms(),
                proc=proc,
                f=f,
                args=args,
            )
        )
        return self._calls

    def returned(
        self, n: int, outcome: Outcome, ret: dict[str, Any] | None = None, error: str = ""
    ) -> None:
        """Call `n` has ended."""
        self._write(
            Line(
                n=n,
                t_ns=self._now_ns(),
                wall_ms=self.wall_ms(),
                outcome=outcome,
                ret=ret,
                error=error,
            )
        )

    def saw(self, f: str, seen: dict[str, Any] | None = None, proc: str = "") -> None:
        """Something was seen, or done to the node."""
        self._write(
            Line(t_ns=self._now_ns(), wall_ms=self.wall_ms(), proc=proc, f=f, seen=seen or {})
        )

    def _write(self, line: Line) -> None:
        self._sink.write(_encode(line) + b"\n")
        self.lines += 1
        if self._flush:
            self._sink.flush()


@contextmanager
def recording(
    path: Path, now_ns: Callable[[], int], wall_ms: Callable[[], int], *, flush: bool = False
) -> Iterator[Recorder]:
    """A recorder that writes to a file."""
    with path.open("wb") as sink:
        yield Recorder(sink, now_ns, wall_ms, flush=flush)


class BadHistory(Exception):
    """A line that is none; the message says where."""


def read_history(source: Path | Iterable[bytes]) -> Iterator[Line]:
    """The lines of a history, one at a time. Empty lines and lines that begin with # are no lines.

    A last line that was cut off by the end of the test that wrote it is left out.

    Raises:
        BadHistory: another line is not one of a history.
    """
    if isinstance(source, Path):
        with source.open("rb") as lines:
            yield from read_history(lines)
        return
    for number, raw in enumerate(source, 1):
        if raw.isspace() or raw.startswith(b"#"):
            continue
        try:
            yield _decode(raw)
        except msgspec.DecodeError as error:
            if raw.endswith(b"\n"):
                raise BadHistory(f"line {number}: {error}") from None


def content_of(key: bytes | None, meta: Meta, payload: bytes) -> str:
    """What stands for an event's bytes in a history: equal if and only if they are."""
    head = repr(sorted(meta.items())).encode() if meta else b""
    lengths = b"%d %d " % (len(key or b""), len(head))
    return blake2b(b"".join((lengths, key or b"", head, payload)), digest_size=8).hexdigest()
