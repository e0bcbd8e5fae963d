"""The durable part of ChronosDB: a segmented log of opaque records, the disk it lies on, and views.

``Log`` is what is promised; a ``KeyValue`` is only a view of it. Nothing in here reads a clock,
starts a thread or knows what a record means. README.md tells how it works, FORMAT.md its bytes.
"""

from chronosdb.wal.crc import crc32c
from chronosdb.wal.disk import Disk, File, Lock
from chronosdb.wal.errors import (
    BadCopy,
    DamagedRecord,
    DiskFull,
    Locked,
    LogClosed,
    LogDamaged,
    LogFailed,
    LogMissing,
    OutOfRange,
    TooLarge,
    UnreadableRecord,
    ViewsDamaged,
    WalError,
    WrongLog,
)
from chronosdb.wal.kv import KeyValue
from chronosdb.wal.layout import DataDir
from chronosdb.wal.level_kv import LevelKV
from chronosdb.wal.log import Log
from chronosdb.wal.memory_kv import MemoryKV
from chronosdb.wal.options import LogOptions
from chronosdb.wal.os_disk import OsDisk
from chronosdb.wal.record import HEADER_BYTES, Draft, Point, Record
from chronosdb.wal.recovery import Recovery
from chronosdb.wal.segment import SegmentInfo
from chronosdb.wal.verify import Problem, VerifyReport, verify

__all__ = [
    "HEADER_BYTES",
    "BadCopy",
    "DamagedRecord",
    "DataDir",
    "Disk",
    "DiskFull",
    "Draft",
    "File",
    "KeyValue",
    "LevelKV",
    "Lock",
    "Locked",
    "Log",
    "LogClosed",
    "LogDamaged",
    "LogFailed",
    "LogMissing",
    "LogOptions",
    "MemoryKV",
    "OsDisk",
    "OutOfRange",
    "Point",
    "Problem",
    "Record",
    "Recovery",
    "SegmentInfo",
    "TooLarge",
    "UnreadableRecord",
    "VerifyReport",
    "ViewsDamaged",
    "WalError",
    "WrongLog",
    "crc32c",
    "verify",
]
