"""The worked example of FORMAT.md is what the code writes, byte by byte."""

from __future__ import annotations

import re
from pathlib import Path

from chronosdb.wal import Draft, Log, LogOptions
from tests.support.memory_disk import MemoryDisk

DOCUMENT = Path(__file__).parents[2] / "wal" / "FORMAT.md"
ROW = re.compile(r"^[0-9]+ +((?:[0-9a-f]{2} )+) ", re.MULTILINE)


def documented(title: str) -> bytes:
    """The bytes in the block under a title, all rows of it."""
    _, _, rest = DOCUMENT.read_text().partition(f"`{title}`:\n\n```\n")
    block, _, _ = rest.partition("```")
    return b"".join(bytes.fromhex(row) for row in ROW.findall(block))


def written() -> MemoryDisk:
    disk = MemoryDisk()
    log = Log.open(disk, "/log", LogOptions(), log_id=bytes(range(16)))
    log.append([Draft(kind=1, ts_ms=1_700_000_000_000, body=[b"hello"], offsets=2, epoch=1)])
    log.sync()
    log.append([Draft(kind=2, ts_ms=1_700_000_000_250, body=[b"\x01\x00"], positions=2, epoch=1)])
    log.close()
    return disk


def test_the_segment_in_the_document_is_what_is_written() -> None:
    name = "00000000000000000000.log"
    assert documented(name) == written().read_file(f"/log/{name}")


def test_the_sidecar_in_the_document_is_what_is_written() -> None:
    name = "00000000000000000000.idx"
    assert documented(name) == written().read_file(f"/log/{name}")
