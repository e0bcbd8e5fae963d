"""Runs of positions as messages carry them: i64 pairs, half-open."""

from __future__ import annotations

from chronosdb.wire.errors import InvalidArgument, ProtocolError
from chronosdb.wire.limits import MAX_ACK_RUNS


def decode_runs(raw: memoryview) -> list[tuple[int, int]]:
    """The runs of a message.

    Raises:
        ProtocolError: not pairs of positions, or a run that ends before it begins.
        InvalidArgument: too many.
    """
    if len(raw) % 16:
        raise ProtocolError(f"runs of {len(raw)} bytes are not pairs of i64")
    if len(raw) > 16 * MAX_ACK_RUNS:
        raise InvalidArgument(
            f"{len(raw) // 16} runs in one message; at most {MAX_ACK_RUNS} are allowed"
        )
    flat = raw.cast("q").tolist()
    runs = list(zip(flat[0::2], flat[1::2], strict=True))
    if any(not 0 <= start < stop for start, stop in runs):
        raise ProtocolError("a run of positions must not be empty or negative")
    return runs
