from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.wire.errors import ProtocolError
from chronosdb.wire.frames import FrameDecoder, frame


def drain(decoder: FrameDecoder) -> list[bytes]:
    return list(iter(decoder.next_frame, None))


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.data())
def test_frames_come_back_however_the_stream_is_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(frame, bodies))
    decoder, found = FrameDecoder(limit=20), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        decoder.feed(stream[:size])
        stream = stream[size:]
        found += drain(decoder)
    assert found == bodies
    assert not decoder.partial


def test_a_stream_that_ends_inside_a_frame_is_cut() -> None:
    decoder = FrameDecoder(limit=20)
    decoder.feed(frame(b"abc")[:-1])
    assert decoder.next_frame() is None
    assert decoder.partial


@pytest.mark.parametrize("length", [0, 21, 2**31, 2**32 - 1])
def test_a_length_that_is_not_allowed_is_refused_before_the_body_comes(length: int) -> None:
    decoder = FrameDecoder(limit=20)
    decoder.feed(length.to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match=f"a frame of {length} bytes"):
        decoder.next_frame()


@given(st.binary(max_size=64))
def test_any_bytes_give_frames_or_a_protocol_error(stream: bytes) -> None:
    decoder = FrameDecoder(limit=20)
    decoder.feed(stream)
    try:
        bodies = drain(decoder)
    except ProtocolError:
        return
    assert stream.startswith(b"".join(map(frame, bodies)))


def test_memory_follows_the_bytes_received_and_not_the_length_claimed() -> None:
    decoder = FrameDecoder(limit=2**24)
    tracemalloc.start()
    decoder.feed((2**24).to_bytes(4, "big"))
    for _ in range(100):
        decoder.feed(bytes(1000))
        assert decoder.next_frame() is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 100_000
