"""Whose clock is too far from the others' (pure): it would fire early, or late (I17)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from chronosdb.node.controller.messages import Reading


def far_off(
    readings: Mapping[str, Reading], max_ms: int, before: Collection[str]
) -> dict[str, int]:
    """The nodes whose clock is more than `max_ms` off, and how far it is ahead (milliseconds).

    Off from the median. Where there are two of them, an even number of clocks, anything between
    counts as right: of two clocks nobody knows which is wrong. A reading is believed as far as its
    round trip allows; who was found far off `before` must be surely right again.
    """
    ahead = {node: -reading.ahead_ms for node, reading in readings.items()}
    if not ahead:
        return {}
    times = sorted(ahead.values())
    low, high = times[(len(times) - 1) // 2], times[len(times) // 2]
    off = {node: ms - min(max(ms, low), high) for node, ms in ahead.items()}
    return {
        node: ms
        for node, ms in off.items()
        if abs(ms) + (1 if node in before else -1) * readings[node].error_ms > max_ms
    }
