"""Small files that are written whole: a magic, a version, and a checksum over everything."""

from __future__ import annotations

import struct
from zlib import crc32

from chronosdb.raft.errors import StorageDamagedError

#: magic, crc32 of all that follows it, version, payload length
_HEADER = struct.Struct("<8sIIQ")
_CHECKED_FROM = 12


def seal(magic: bytes, version: int, payload: bytes) -> bytes:
    """The file's bytes; `magic` has 8."""
    assert len(magic) == 8, magic
    unchecked = _HEADER.pack(magic, 0, version, len(payload)) + payload
    crc = crc32(memoryview(unchecked)[_CHECKED_FROM:])
    return _HEADER.pack(magic, crc, version, len(payload)) + payload


def unseal(magic: bytes, version: int, data: bytes, path: str) -> bytes:
    """The payload again, or StorageDamagedError naming `path` and what is wrong with it."""
    if len(data) < _HEADER.size:
        raise StorageDamagedError(f"{path}: {len(data)} bytes, too short for its header")
    found_magic, crc, found_version, length = _HEADER.unpack_from(data)
    if found_magic != magic:
        raise StorageDamagedError(f"{path}: not a file of this kind (starts with {found_magic!r})")
    if length != len(data) - _HEADER.size or crc != crc32(memoryview(data)[_CHECKED_FROM:]):
        raise StorageDamagedError(f"{path}: length or checksum is wrong")
    if found_version != version:
        raise StorageDamagedError(f"{path}: format {found_version}, this version reads {version}")
    return data[_HEADER.size :]
