"""The commands as a new user types them, against a node that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.process.conftest import StartNode
from tests.process.harness import chronos, free_port


@pytest.mark.slow
async def test_the_first_five_minutes(start_node: StartNode, tmp_path: Path) -> None:
    """Create a topic, publish in every way, consume, get, look at the log: all of it as documented."""
    node = await start_node()
    created = await chronos("topic", "create", "orders", "--partitions", "2", node=node)
    assert created.code == 0, created.err
    listed = await chronos("--json", "topic", "list", node=node)
    assert [json.loads(line)["topic"] for line in listed.out.splitlines()] == ["orders"]

    one = await chronos("--json", "publish", "orders", "hello", "--id", "first", node=node)
    assert json.loads(one.out)["duplicate"] is False
    again = await chronos("--json", "publish", "orders", "hello", "--id", "first", node=node)
    assert json.loads(again.out) == {**json.loads(one.out), "duplicate": True}

    lines = [{"id": f"line-{n}", "payload": f"payload {n}", "after": "100ms"} for n in range(20)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "events.jsonl").write_text(text)
    source = str(tmp_path / "events.jsonl")
    filed = await chronos("publish", "orders", "--file", source, node=node)
    assert "published 20 events to orders" in filed.out, filed.err
    piped = await chronos("publish", "orders", "--file", "-", node=node, stdin=text)
    assert "20 of them stored before" in piped.out, piped.err

    consumed = await chronos(
        "consume", "orders", "--group", "g", "--count", "21", "--json", node=node
    )
    got = {e["message_id"]: e for e in map(json.loads, consumed.out.splitlines())}
    assert {i: e["payload"] for i, e in got.items()} == {
        "first": "hello",
        **{str(line["id"]): line["payload"] for line in lines},
    }
    assert all(event["lateness_ms"] >= 0 for event in got.values())

    found = await chronos("--json", "get", "orders", "line-7", node=node)
    assert json.loads(found.out)["state"] == "fired"

    assert await node.stop() == 0
    verified = await chronos("log", "verify", str(node.data_dir))
    assert (verified.code, verified.out.count("\nok\n")) == (0, 2)
    log = min(node.data_dir.glob("partitions/*"))
    dumped = await chronos("--json", "log", "dump", str(log))
    kinds = {json.loads(line)["kind"] for line in dumped.out.splitlines()}
    assert {"epoch", "publish", "fire", "group", "settle"} <= kinds


@pytest.mark.slow
async def test_mistakes_are_answered_in_one_line(start_node: StartNode) -> None:
    """A naive time, an unknown topic, a missing event and no server: each says what to do."""
    node = await start_node()
    naive = await chronos("publish", "orders", "x", "--at", "2030-01-31 08:00", node=node)
    unknown = await chronos("publish", "nowhere", "x", node=node)
    await chronos("topic", "create", "orders", node=node)
    missing = await chronos("get", "orders", "nobody", node=node)
    nobody = await chronos("topic", "list", "--server", f"127.0.0.1:{free_port()}")
    for answer, code, words in (
        (naive, 2, "no time zone"),
        (unknown, 3, "topic"),
        (missing, 3, "nobody"),
        (nobody, 4, "start a node"),
    ):
        assert answer.code == code, answer
        assert words in answer.err
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        assert answer.out == ""
