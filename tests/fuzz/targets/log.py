"""The log's files: what a bad disk, or a bad restore of a backup, makes of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wal import Draft, Log, LogOptions, VerifyReport, WalError, verify
from chronosdb.wal.codec import encode_group
from chronosdb.wal.crc import crc32c
from chronosdb.wal.errors import DamagedRecord, OutOfRange
from chronosdb.wal.index import SparseIndex
from chronosdb.wal.layout import segment_path, sidecar_path
from chronosdb.wal.record import Point, Record
from chronosdb.wal.segment import file_position
from tests.fuzz.target import Feature, Target, complaint

_DIRECTORY: Final = "/log"
_LOG_ID: Final = b"fuzz" * 4
_OPTIONS: Final = LogOptions(
    segment_bytes=1024,
    max_record_bytes=512,
    index_interval_bytes=128,
    disk_reserve_bytes=0,
    allocate_min_bytes=64,
    allocate_max_bytes=64,
    scan_bytes=256,
    open_files_max=2,
)
#: An input is a row of files: is it a sidecar, the LSN of its name, its length; its bytes.
_FILE: Final = struct.Struct("<?QH")
_HEADER_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class _File:
    sidecar: bool
    base_lsn: int
    data: bytes

    def packed(self) -> bytes:
        return _FILE.pack(self.sidecar, self.base_lsn, len(self.data)) + self.data


def _unpacked(image: bytes) -> Iterator[_File]:
    at = 0
    while at + _FILE.size <= len(image):
        sidecar, base_lsn, length = _FILE.unpack_from(image, at)
        at += _FILE.size
        yield _File(sidecar, base_lsn, image[at : at + length])
        at += length


def _disk_of(image: bytes) -> MemoryDisk:
    disk = MemoryDisk()
    disk.mkdir(_DIRECTORY)
    for file in _unpacked(image):
        path_of: Callable[[str, int], str] = sidecar_path if file.sidecar else segment_path
        disk.write_file_atomic(path_of(_DIRECTORY, file.base_lsn), file.data)
    return disk


def _log(data: bytes) -> Feature:
    """Damage is reported, or the log opens, is what verify says it is, and goes on from there."""
    disk = _disk_of(data)
    try:
        report = verify(disk, _DIRECTORY)
    except WalError as error:
        return complaint(error)
    try:
        found = _read_back(disk)
    except WalError as error:
        refusal = error
    else:
        return _agreed(disk, report, found)
    assert not report.ok, f"verify saw nothing wrong, but: {refusal}"
    return "refused", complaint(refusal)


def _agreed(disk: MemoryDisk, report: VerifyReport, found: Log) -> Feature:
    """A log that could be read to its end."""
    assert report.ok == (not found.recovery.damage), f"{report}\n{found.recovery}"
    if not report.ok:
        return "damaged", report.problems_total > 1
    assert report.records == len(list(found.scan()))
    _find_all(found)
    _goes_on(disk, found.end_lsn)
    return report.segments, min(report.records, 9), report.torn_bytes > 0


def _read_back(disk: MemoryDisk) -> Log:
    log = Log.open(disk, _DIRECTORY, _OPTIONS, log_id=None, writable=False)
    for record in log.scan():
        assert log.read(record.lsn) == record
        assert _encoded(record) == _stored(disk, log, record), "what is read is what is there"
    return log


def _encoded(record: Record) -> bytes:
    draft = Draft(
        record.kind,
        record.ts_ms,
        [record.body],
        offsets=record.offsets,
        positions=record.positions,
        epoch=record.epoch,
    )
    point = Point(record.lsn, record.offset, record.position, record.ts_ms)
    buffers, _, _ = encode_group([draft], point, record.synced_lsn)
    return b"".join(buffers)


def _stored(disk: MemoryDisk, log: Log, record: Record) -> bytes:
    base = max(s.start.lsn for s in log.segments() if s.start.lsn <= record.lsn)
    at = file_position(base, record.lsn)
    return disk.read_file(segment_path(_DIRECTORY, base))[at : at + record.next_lsn - record.lsn]


def _find_all(log: Log) -> None:
    """Whatever is asked for is found, or refused as out of range, or as damaged (a bad sidecar)."""
    for find, most in (
        (log.at_offset, log.next_offset),
        (log.at_position, log.next_position),
        (log.at_time, log.last_ts_ms),
    ):
        for asked in {0, 1, most // 2, most - 1, most, most + 1}:
            try:
                find(asked)
            except (DamagedRecord, OutOfRange):
                continue


def _goes_on(disk: MemoryDisk, end_lsn: int) -> None:
    """A log without damage takes more, also after a restart, and forgets nothing."""
    try:
        log = Log.open(disk, _DIRECTORY, _OPTIONS, log_id=None)
        draft = Draft(1, log.last_ts_ms, [b"one more"], offsets=1)
        log.reserve(draft.nbytes)
        log.append([draft])
        log.sync()
        log.close()
    except (ValueError, OverflowError, struct.error):
        return  # a crafted header may say that offsets or times have reached their end
    again = Log.open(disk, _DIRECTORY, _OPTIONS, log_id=None)
    records = list(again.scan())
    assert records[-1].lsn == end_lsn
    assert bytes(records[-1].body) == b"one more"


def _mend(data: bytes, random: Random) -> bytes:
    """Right checksums, most of the time, over whatever the fields now say."""
    files = [file if random.random() < 0.1 else _mended(file, random) for file in _unpacked(data)]
    return b"".join(file.packed() for file in files)


def _mended(file: _File, random: Random) -> _File:
    if file.sidecar:
        return _File(True, file.base_lsn, _sealed_sidecar(file.data))
    data = bytearray(file.data)
    if len(data) >= _HEADER_BYTES:
        data[60:64] = struct.pack("<I", crc32c(bytes(data[:60])))
    at = _HEADER_BYTES
    while at + _HEADER_BYTES <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if not _HEADER_BYTES <= length <= len(data) - at:
            break
        if random.random() < 0.9:
            data[at : at + 4] = struct.pack("<I", crc32c(bytes(data[at + 4 : at + length])))
        at += length
    return _File(False, file.base_lsn, bytes(data))


def _sealed_sidecar(data: bytes) -> bytes:
    at = struct.calcsize("<4sIQQI")
    if len(data) < at + 4:
        return data
    crc = crc32c(data[at + 4 :], crc32c(data[:at]))
    return data[:at] + struct.pack("<I", crc) + data[at + 4 :]


def _sidecar(data: bytes) -> Feature:
    """A sidecar alone: refused, or the same bytes again."""
    try:
        index, end_lsn = SparseIndex.decode(data, 0, 128)
    except ValueError as error:
        return complaint(error)
    assert index.encode(end_lsn) == data
    for column in ("offset", "position", "ts_ms"):
        index.floor(column, 5)
    return min(len(index), 5)


def _grown(groups: int, size: int) -> MemoryDisk:
    disk = MemoryDisk()
    log = Log.open(disk, _DIRECTORY, _OPTIONS, log_id=_LOG_ID)
    for n in range(groups):
        drafts = [
            Draft(1 + i, 10 * n, [bytes([n]) * size], offsets=i, positions=1) for i in range(2)
        ]
        log.reserve(sum(draft.nbytes for draft in drafts))
        log.append(drafts)
        log.sync()
    log.close()
    return disk


def _image(disk: MemoryDisk) -> bytes:
    files = []
    for name in disk.listdir(_DIRECTORY):
        base, _, suffix = name.partition(".")
        data = disk.read_file(f"{_DIRECTORY}/{name}")
        files.append(_File(suffix == "idx", int(base), data).packed())
    return b"".join(files)


def _seeds() -> list[bytes]:
    return [_image(_grown(*shape)) for shape in ((0, 0), (2, 5), (3, 150), (9, 40))]


def _sidecar_seeds() -> list[bytes]:
    index = SparseIndex(0, 128)
    log = Log.open(_grown(2, 20), _DIRECTORY, _OPTIONS, log_id=None, writable=False)
    return [index.encode(0), index.extend(log.scan()).encode(log.end_lsn)]


TARGETS = (
    Target("log", _log, _seeds, _mend, (b"CHRN", bytes(64), bytes(8)), memory_factor=256),
    Target("sidecar", _sidecar, _sidecar_seeds, lambda data, _: _sealed_sidecar(data), (b"CIDX",)),
)
