"""From pieces to tables: on the terminal, in a file, in the document."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.status import Status

from bench.case import Piece, Table, run_piece
from bench.document import keep
from bench.lab import Lab
from bench.plots import check_can_draw
from bench.record import Record, write_record
from bench.report import print_machine, print_table


def measure(
    pieces: Sequence[Piece], runs: int | None, json_path: Path | None, section: str | None
) -> int:
    """Measure and print one piece after the other; the exit code says whether all went well.

    `runs` instead of each piece's own number; `section` of the document that shall hold the tables.
    What is measured is kept after each piece: an interrupted run loses one.

    Raises:
        BenchError: the section cannot be written.
    """
    if section is not None:
        check_can_draw()
    # Tables are wider than the 80 columns that rich assumes where there is no terminal.
    console = Console(width=None if sys.stdout.isatty() else 130)
    print_machine(console)
    tables: list[Table] = []
    with Lab() as lab:
        for number, piece in enumerate(pieces, 1):
            place = f"{number} of {len(pieces)}"
            with console.status(place) as status:
                tell = partial(_tell, status, place)
                table = run_piece(lab, piece, runs or piece.runs, tell)
            print_table(console, table)
            tables.append(table)
            if json_path is not None:
                write_record(json_path, Record(tables))
            if section is not None and any(result.runs for result in table.results):
                keep(section, [table])
    return 1 if any(table.failed() for table in tables) else 0


def _tell(status: Status, place: str, text: str) -> None:
    status.update(f"{place}: {text}")
