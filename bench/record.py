"""What was measured, for programs: every single run, in a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.case import Table
from bench.errors import BenchError


@dataclass(frozen=True, slots=True)
class Record:
    """Tables, one for each piece."""

    tables: list[Table] = field(default_factory=list)

    def table(self, piece: str) -> Table | None:
        """The one of a piece, if that was measured."""
        return next((table for table in self.tables if table.piece == piece), None)

    def renewed(self, tables: Sequence[Table]) -> Record:
        """With these instead of older ones of the same pieces; new ones come last."""
        newer = {table.piece: table for table in tables}
        kept = [newer.pop(table.piece, table) for table in self.tables]
        return Record([*kept, *newer.values()])


_decoder = msgspec.json.Decoder(Record)


def read_record(path: Path) -> Record:
    """What `write_record` wrote; empty if there is no such file.

    Raises:
        BenchError: the file holds something else.
    """
    if not path.exists():
        return Record()
    try:
        return _decoder.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise BenchError(
            f"{path} is no file of results: {error}; remove it or name another"
        ) from None


def write_record(path: Path, record: Record) -> None:
    """Replace what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
