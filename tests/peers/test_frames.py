"""Frames are cut right, bounded, and worth nothing to whoever did not seal them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.node.peers.frames import (
    FRAME_BYTES_MAX,
    HANDSHAKE_BYTES_MAX,
    BadFrame,
    FrameReader,
    Opener,
    Sealer,
    framed,
)

KEY = b"k" * 32


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    bodies: list[bytes], step: int
) -> None:
    """Lengths, and bodies, may be split anywhere."""
    reader, found = FrameReader(), []
    stream = b"".join(map(framed, bodies))
    for start in range(0, len(stream), step):
        reader.receive(stream[start : start + step])
        while (frame := reader.next_frame()) is not None:
            found.append(frame)
    assert found == bodies


@pytest.mark.parametrize(
    ("trusted", "most"), [(False, HANDSHAKE_BYTES_MAX), (True, FRAME_BYTES_MAX)]
)
def test_a_frame_is_refused_by_its_length_alone(trusted: bool, most: int) -> None:
    """Before any of it is held: four bytes are enough to know."""
    for length, is_refused in ((most, False), (most + 1, True)):
        reader = FrameReader()
        if trusted:
            reader.trust()
        reader.receive(length.to_bytes(4, "big"))
        if is_refused:
            with pytest.raises(BadFrame, match="over"):
                reader.next_frame()
        else:
            assert reader.next_frame() is None


def _sealed(*bodies: bytes, key: bytes = KEY) -> list[bytes]:
    sealer = Sealer(key)
    return [sealer.seal(1, body)[4:] for body in bodies]


def test_what_was_sealed_opens_in_order() -> None:
    """Channel and body, as given."""
    opener = Opener(KEY)
    assert [opener.open(frame) for frame in _sealed(b"one", b"", b"three")] == [
        (1, b"one"),
        (1, b""),
        (1, b"three"),
    ]


def test_a_frame_is_good_for_its_place_only() -> None:
    """Not a second time, not before another, not without the one before."""
    one, two = _sealed(b"one", b"two")
    for frames in ((one, one), (two,), (two, one)):
        opener = Opener(KEY)
        with pytest.raises(BadFrame):
            [opener.open(frame) for frame in frames]


@pytest.mark.parametrize("position", range(20))
def test_a_flipped_bit_anywhere_is_noticed(position: int) -> None:
    """In the channel, the body, or the code."""
    (frame,) = _sealed(b"one")
    bad = bytearray(frame)
    bad[position] ^= 1
    with pytest.raises(BadFrame):
        Opener(KEY).open(bytes(bad))


@pytest.mark.parametrize("frame", [b"", b"x", b"x" * 16, b"\0" * 17])
def test_what_is_too_short_or_made_up_is_no_frame(frame: bytes) -> None:
    """It raises nothing else."""
    with pytest.raises(BadFrame):
        Opener(KEY).open(frame)


def test_another_key_opens_nothing() -> None:
    """That of the other direction, for one."""
    (frame,) = _sealed(b"one", key=b"o" * 32)
    with pytest.raises(BadFrame):
        Opener(KEY).open(frame)
