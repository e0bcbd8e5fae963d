"""The fuzzer finds bugs that are there: a check on the check."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Any

import pytest

from chronosdb.wal import codec, segment_reader
from chronosdb.wal.crc import crc32c
from chronosdb.wal.record import Record
from chronosdb.wire import EventBatch
from chronosdb.wire.frames import FrameDecoder
from tests.fuzz.engine import Fuzzer, Hang, replay
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS


def runs_until_found(fuzzer: Fuzzer, runs_max: int) -> int | None:
    """How many runs it took to find something; None: nothing was found."""
    while not fuzzer.findings and fuzzer.executions < runs_max:
        fuzzer.try_input(fuzzer.next_input())
    return fuzzer.executions if fuzzer.findings else None


def guarded(data: bytes) -> None:
    """A bug behind three bytes, each of which is looked at by itself."""
    if data[:1] != b"C":
        return
    if data[1:2] != b"H":
        return
    if data[2:3] == b"R":
        raise KeyError("here it is")


GUARDED = Target("guarded", guarded, lambda: [b"...."], largest=64)


@pytest.mark.slow
def test_new_ways_lead_to_a_bug_that_chance_does_not_find() -> None:
    """One byte after the other, because an input that came further is kept."""
    assert runs_until_found(
        Fuzzer(GUARDED, 1, is_ours=lambda path: path.endswith(__file__)), 30_000
    )
    assert runs_until_found(Fuzzer(GUARDED, 1, is_ours=lambda _: False), 30_000) is None


def reserving(self: FrameDecoder, length: int) -> int:
    """Reserves what a stranger announces."""
    bytearray(min(length, 1 << 22))
    return CHECKED(self, length)


def trusting(header: bytes, body: bytes, lsn: int) -> Record:
    """Takes any checksum."""
    return DECODE(pack("<I", crc32c(body, crc32c(header[4:]))) + header[4:], body, lsn)


def forgetful(self: FrameDecoder) -> bytes | None:
    """Drops what came behind a frame."""
    body = NEXT_FRAME(self)
    if body is not None:
        self._buffer.clear()
    return body


def unordered(self: EventBatch, indices: Sequence[int]) -> EventBatch:
    """Gives the chosen events in the order of the batch."""
    return SELECT(self, sorted(indices))


CHECKED, NEXT_FRAME = FrameDecoder._checked, FrameDecoder.next_frame
DECODE, SELECT = codec.decode, EventBatch.select


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "place", "attribute", "bug"),
    [
        ("frames", FrameDecoder, "_checked", reserving),
        ("session", FrameDecoder, "next_frame", forgetful),
        ("batch", EventBatch, "select", unordered),
        ("log", segment_reader, "decode", trusting),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found_within_a_thousand_runs(
    monkeypatch: pytest.MonkeyPatch, name: str, place: Any, attribute: str, bug: Any
) -> None:
    monkeypatch.setattr(place, attribute, bug)
    assert runs_until_found(Fuzzer(TARGETS[name], seed=1), 1000)


def test_one_seed_gives_one_campaign() -> None:
    """So that a finding can be found again."""
    first, second = (Fuzzer(TARGETS["tokens"], seed=7) for _ in range(2))
    for _ in range(200):
        data = first.next_input()
        assert data == second.next_input()
        assert first.try_input(data) == second.try_input(data)


def test_a_run_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the target catches every Exception."""
    monkeypatch.setattr("tests.fuzz.engine.TIME_S", 0.05)

    def endless(_: bytes) -> None:
        while True:
            pass

    with pytest.raises(Hang):
        replay(Target("endless", endless, list), b"")
