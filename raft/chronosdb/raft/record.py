"""The bytes of one journal record, and the scan that tells a torn tail from damage (pure).

A record whose index is not the next one replaces everything from that index on: truncating and
appending are one write, so no crash can come between them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from chronosdb.raft.errors import StorageDamagedError
from chronosdb.raft.limits import ENTRY_BYTES_MAX

MAGIC = b"CHRONJRN"
VERSION = 1
#: magic, crc32 of what follows it, version, sealed: how much of the file was durable when created
_FILE_HEADER = struct.Struct("<8sIIQ")
_FILE_CHECKED_FROM = 12

#: Starts every record, so that a scan can find the next one behind damage.
_MARK = b"\xc5\x9fR1"
#: mark, crc32 of what follows it, command length, synced, index, term
_HEADER = struct.Struct("<4sIIQQQ")
_CHECKED_FROM = 8


class Entry(NamedTuple):
    """One entry of the Raft log. PySyncObj compares entries with plain tuples: it must be one."""

    command: bytes
    idx: int
    term: int


class _Record(NamedTuple):
    entry: Entry
    #: Everything below this file position was durable before the record was written.
    synced: int
    end: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What a journal file holds: its entries, and where its good bytes end."""

    entries: list[Entry]
    end: int
    #: Below this the file proves by itself that it was durable.
    durable: int


def journal_image(entries: list[Entry]) -> bytes:
    """A whole journal file, to be written atomically: all of it is durable from the start."""
    records, end = encode_group(entries, _FILE_HEADER.size)
    unchecked = _FILE_HEADER.pack(MAGIC, 0, VERSION, end)
    crc = crc32(unchecked[_FILE_CHECKED_FROM:])
    return b"".join([_FILE_HEADER.pack(MAGIC, crc, VERSION, end), *records])


def encode_group(entries: list[Entry], start: int) -> tuple[list[bytes], int]:
    """The records of one write at file position `start`, and the position after them."""
    records, position = [], start
    for entry in entries:
        record = _encode(entry, position, synced=start)
        records.append(record)
        position += len(record)
    return records, position


def _encode(entry: Entry, position: int, synced: int) -> bytes:
    command, index, term = entry
    assert 0 < len(command) <= ENTRY_BYTES_MAX, len(command)
    assert index >= 1, index
    body = _HEADER.pack(_MARK, 0, len(command), synced, index, term)[_CHECKED_FROM:] + command
    return _HEADER.pack(_MARK, _crc(body, position), len(command), synced, index, term) + command


def _crc(body: bytes | memoryview, position: int) -> int:
    # Seeded with the position: a record copied or written elsewhere does not pass for a good one.
    return crc32(body, position & 0xFFFF_FFFF)


def scan(data: bytes, path: str) -> Scan:
    """Read a journal file; raises StorageDamagedError if durable bytes of it are damaged."""
    sealed = _sealed_length(data, path)
    entries: list[Entry] = []
    position, durable = _FILE_HEADER.size, sealed
    while (record := _read(data, position)) is not None:
        _place(entries, record.entry, path)
        position, durable = record.end, max(durable, record.synced)
    durable = max(durable, _synced_behind(data, position))
    if position < durable:
        raise StorageDamagedError(
            f"{path}: damaged at byte {position}, though {durable} bytes had been synced;"
            " restore the metadata directory from a backup or another node"
        )
    return Scan(entries, position, durable)


def _sealed_length(data: bytes, path: str) -> int:
    if len(data) < _FILE_HEADER.size:
        raise StorageDamagedError(f"{path}: {len(data)} bytes, too short for its header")
    magic, crc, version, sealed = _FILE_HEADER.unpack_from(data)
    if magic != MAGIC or crc != crc32(data[_FILE_CHECKED_FROM : _FILE_HEADER.size]):
        raise StorageDamagedError(f"{path}: the file header is damaged")
    if version != VERSION:
        raise StorageDamagedError(f"{path}: format {version}, this version reads {VERSION}")
    return int(sealed)


def _read(data: bytes, position: int) -> _Record | None:
    """The record at `position`, or None if no good one starts there."""
    body = position + _HEADER.size
    if body > len(data):
        return None
    mark, crc, length, synced, index, term = _HEADER.unpack_from(data, position)
    end = body + length
    if mark != _MARK or not 0 < length <= ENTRY_BYTES_MAX or end > len(data):
        return None
    if crc != _crc(memoryview(data)[position + _CHECKED_FROM : end], position):
        return None
    return _Record(Entry(data[body:end], index, term), synced, end)


def _place(entries: list[Entry], entry: Entry, path: str) -> None:
    if entries:
        keep = entry.idx - entries[0].idx
        if not 0 < keep <= len(entries):
            raise StorageDamagedError(
                f"{path}: entry {entry.idx} does not follow {entries[-1].idx}"
            )
        del entries[keep:]
    entries.append(entry)


def _synced_behind(data: bytes, position: int) -> int:
    """How far good records *behind* a bad place prove that the file had been durable."""
    proven = 0
    while (position := data.find(_MARK, position + 1)) != -1:
        record = _read(data, position)
        if record is not None:
            proven = max(proven, record.synced)
    return proven
