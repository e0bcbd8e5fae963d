"""Framing: a u32 big-endian length, then that many bytes of one msgpack message."""

from __future__ import annotations

from typing import Final

from chronosdb.wire.errors import ProtocolError

LENGTH_BYTES: Final = 4


def frame(body: bytes) -> bytes:
    """`body` with its length before it."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class FrameDecoder:
    """Cuts a byte stream into frames.

    Memory is bounded by the bytes received, never by the length a peer claims: a frame over `limit`
    is refused when its four length bytes are read.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        #: Length of the frame being received, once known. Invariant: None or within `limit`.
        self._wanted: int | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add received bytes."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole frame, None when more bytes are needed.

        Raises:
            ProtocolError: the peer announced an empty frame or one over the limit.
        """
        if self._wanted is None:
            if len(self._buffer) < LENGTH_BYTES:
                return None
            self._wanted = self._checked(int.from_bytes(self._buffer[:LENGTH_BYTES], "big"))
        end = LENGTH_BYTES + self._wanted
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            body = bytes(view[LENGTH_BYTES:end])
        del self._buffer[:end]
        self._wanted = None
        return body

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended: end of stream here means a cut connection."""
        return bool(self._buffer)

    def _checked(self, length: int) -> int:
        if length == 0:
            raise ProtocolError("a frame of 0 bytes: every frame holds one message")
        if length > self.limit:
            raise ProtocolError(f"a frame of {length} bytes; at most {self.limit} are allowed here")
        return length
