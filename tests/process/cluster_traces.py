"""What nodes said in their logs about leading partitions, as traces for the checker (I9 to I11).

A reign begins with an epoch, and is served once everything up to an lsn is committed: that lsn is a
high watermark which no later leader may fall behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.proof.history import Recorder

_LINE: Final = re.compile(
    r"(?P<at>\S+ \S+) INFO +chronosdb\.node\.replication\.leader: (?P<topic>\S+)/(?P<partition>\d+):"
    r" (?:epoch (?P<epoch>\d+) begins here|served here from lsn (?P<lsn>\d+))"
)


def file_traces(recorder: Recorder, logs: Mapping[str, Path]) -> None:
    """File who served each partition, in which epoch and from which lsn on, in the order of time."""
    found = sorted(one for node, path in logs.items() for one in _reigns(node, path))
    for _, node, _, seen in found:
        recorder.saw("trace", seen, node)


def _reigns(node: str, path: Path) -> Iterator[tuple[datetime, str, int, dict[str, Any]]]:
    epochs: dict[tuple[str, int], int] = {}
    with path.open(errors="replace") as lines:
        for number, line in enumerate(lines):
            match = _LINE.match(line)
            if match is None:
                continue
            place = match["topic"], int(match["partition"])
            if match["epoch"]:
                epochs[place] = int(match["epoch"])
                continue
            seen = {
                "topic": place[0],
                "partition": place[1],
                # Of all its lives together: what was committed stays so.
                "life": 0,
                "epoch": epochs[place],
                "leads": 1,
                "hw": int(match["lsn"]),
            }
            yield datetime.fromisoformat(match["at"].replace(",", ".")), node, number, seen
