"""Bytes of a log that are wrong: what was promised is never cut silently, what was not is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chronosdb.node.demo.tally import Tally
from tests.process.conftest import StartNode
from tests.process.harness import (
    NodeDied,
    NodeProcess,
    chronos,
    client,
    consume_all,
    events,
    evidence,
    log_files,
    now_ms,
    publish,
)


async def filled(start_node: StartNode) -> tuple[NodeProcess, Tally, Path]:
    """A node that was killed with 40 events in one log, and that log's only segment."""
    node, tally = await start_node(), Tally()
    async with client(node) as db:
        for n in range(4):
            await publish(db, tally, events(10, now_ms(), f"batch-{n}"))
    await node.kill()
    [segment] = log_files(node)
    return node, tally, segment


def flip(path: Path, position: int) -> None:
    """Damage one byte."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x01
    path.write_bytes(content)


@pytest.mark.slow
async def test_damage_in_the_middle_is_refused(start_node: StartNode) -> None:
    """The node does not start, names file and lsn, and touches nothing; `log verify` tells the same."""
    node, _, segment = await filled(start_node)
    middle = segment.read_bytes().index(b"batch-1 5")
    flip(segment, middle)
    before = segment.read_bytes()
    with pytest.raises(NodeDied) as refused:
        await node.start()
    assert refused.value.node_code == 1
    said = str(refused.value)
    assert "Traceback" not in said
    assert str(segment.parent) in said
    assert "at lsn " in said
    assert "chronos log verify" in said
    assert segment.read_bytes() == before

    verified = await chronos("log", "verify", str(node.data_dir))
    assert verified.code == 1
    lsn = said.partition("at lsn ")[2].partition(":")[0]
    assert f"{segment}: at lsn {lsn}" in verified.out
    assert "1 of 1 log" in verified.err


@pytest.mark.slow
async def test_a_torn_tail_is_cut_and_reported(start_node: StartNode) -> None:
    """Half a record behind the last sync, as a power cut leaves it, is cut; every answer still holds."""
    node, tally, segment = await filled(start_node)
    verified = await chronos("--json", "log", "verify", str(node.data_dir))
    end_lsn = json.loads(verified.out)["end_lsn"]
    content = segment.read_bytes()
    header = len(content) - len(content[64:])
    torn = content[: header + end_lsn] + content[header : header + 77]
    segment.write_bytes(torn)

    verified = await chronos("--json", "log", "verify", str(node.data_dir))
    assert (verified.code, json.loads(verified.out)["torn_bytes"]) == (0, 77)
    await node.start()
    assert "77 torn bytes" in node.said()
    async with client(node) as db:
        await publish(db, tally, list(tally.expected.values()))
        await consume_all(db, tally)
    assert tally.recognised == tally.republished == 40
    assert await node.stop() == 0
    assert evidence(node).violations == []


@pytest.mark.slow
async def test_a_missing_segment_is_refused(start_node: StartNode) -> None:
    """A log whose first file is gone is not taken for an empty one."""
    node, _, segment = await filled(start_node)
    await node.start()
    assert await node.stop() == 0
    segment.rename(segment.with_suffix(".gone"))
    with pytest.raises(NodeDied) as refused:
        await node.start()
    assert refused.value.node_code == 1
    assert "Traceback" not in str(refused.value)
    assert str(segment.parent) in str(refused.value)
