"""Frames between nodes (sans IO): a length, a channel, a body, and a code that proves who sent it.

    frame := length(4, big-endian) channel(1) body code(16)

The code is keyed with a key of this connection and direction, and covers the frame's place in the
stream: a frame cannot be forged, altered, repeated, moved or left out. The handshake's frames, by
which the two sides come to the key, are a length and a body only.
"""

from __future__ import annotations

import hmac
from enum import IntEnum
from hashlib import blake2b
from typing import Final

#: Before the handshake is done a stranger may make us hold no more than this.
HANDSHAKE_BYTES_MAX: Final = 1024
#: A raft batch of 1 MiB and its last command, with room for other traffic's larger frames.
FRAME_BYTES_MAX: Final = 8 * 1024 * 1024
_LENGTH_BYTES: Final = 4
_CODE_BYTES: Final = 16
_CHANNEL_BYTES: Final = 1


class BadFrame(Exception):
    """The peer sent what is no frame of this connection: close it."""


class Channel(IntEnum):
    """What a frame is about; whatever nodes will say to each other gets a number here."""

    #: Empty; sent back as it came, so that the sender knows that it is heard.
    PING = 0
    RAFT = 1
    CALLS = 2


def framed(body: bytes) -> bytes:
    """A handshake frame."""
    assert len(body) <= HANDSHAKE_BYTES_MAX, len(body)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameReader:
    """Cuts a stream into frames. Holds at most one frame more than it was given at once."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._limit = HANDSHAKE_BYTES_MAX

    def trust(self) -> None:
        """The peer has proved who it is: it may send large frames from now on."""
        self._limit = FRAME_BYTES_MAX

    def receive(self, data: bytes | bytearray) -> None:
        """Take in bytes as they come."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole frame without its length, or None until more bytes came.

        Raises:
            BadFrame: it is longer than this peer may send.
        """
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if length > self._limit:
            raise BadFrame(f"a frame of {length:,} bytes, over {self._limit:,}")
        end = _LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_LENGTH_BYTES:end])
        del self._buffer[:end]
        return frame


class Sealer:
    """Makes the frames of one direction of one connection, in order."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def seal(self, channel: int, body: bytes) -> bytes:
        """The next frame, with its length."""
        content = channel.to_bytes(_CHANNEL_BYTES, "big") + body
        length = len(content) + _CODE_BYTES
        assert length <= FRAME_BYTES_MAX, length
        code = _code(self._key, self._count, content)
        self._count += 1
        return length.to_bytes(_LENGTH_BYTES, "big") + content + code


class Opener:
    """Checks the frames of one direction of one connection, in order."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def open(self, frame: bytes) -> tuple[int, bytes]:
        """The channel and body of the next frame.

        Raises:
            BadFrame: the other side did not send this here and now.
        """
        content, code = frame[:-_CODE_BYTES], frame[-_CODE_BYTES:]
        if len(frame) < _CHANNEL_BYTES + _CODE_BYTES or not hmac.compare_digest(
            code, _code(self._key, self._count, content)
        ):
            raise BadFrame("a frame that its sender did not seal")
        self._count += 1
        return content[0], content[_CHANNEL_BYTES:]


def _code(key: bytes, count: int, content: bytes) -> bytes:
    place = count.to_bytes(8, "big")
    return blake2b(place + content, key=key, digest_size=_CODE_BYTES).digest()
