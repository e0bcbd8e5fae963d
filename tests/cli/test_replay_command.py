"""`chronos replay` against a real node in the test's own process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from trio.testing import MockClock

from chronosdb.client import Client
from chronosdb.client.cli.app import run
from chronosdb.client.cli.exits import Exit
from tests.support.in_process import START_MS, broker

#: The year 2096: not even a machine that has been up for weeks is there yet.
FAR_MS = 4_000_000_000_000

Lines = Callable[..., list[str]]


@asynccontextmanager
async def connect(_addresses: str, *, timeout: float) -> AsyncIterator[Client]:  # noqa: ASYNC109
    """A client of a node that holds three events, of which "b" has fired."""
    assert timeout
    async with broker(MockClock()) as node, node.library(timeout_s=60) as db:
        await db.create_topic("orders")
        hour_ms = 3_600_000
        await db.publish("orders", b"one", message_id="a", at=FAR_MS, key=b"k", meta={"n": 1})
        await db.publish("orders", b"\xff", message_id="b", at=START_MS - hour_ms)
        await db.publish("orders", b"three", message_id="c", at=FAR_MS - hour_ms, key=b"\xfe")
        async with db.consume("orders", group="g") as events:
            await anext(aiter(events))
        yield db


@pytest.fixture
def chronos(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Runs `chronos replay orders` with more words; the lines that it prints."""

    def call(*words: str, code: Exit = Exit.OK) -> list[str]:
        assert run(["replay", "orders", *words], connect=connect) is code
        out, err = capsys.readouterr()
        assert bool(err) == (code is not Exit.OK)
        return (err or out).splitlines()

    return call


def names(lines: list[str]) -> list[str]:
    return [json.loads(line)["message_id"] for line in lines]


def test_each_order_and_its_bounds(chronos: Lines) -> None:
    """By offset the bounds are offsets, else times."""
    assert names(chronos("--json")) == ["a", "b", "c"]
    assert names(chronos("--json", "--start", "1", "--end", "2")) == ["b"]
    assert names(chronos("--json", "--by", "scheduled")) == ["b", "c", "a"]
    assert names(chronos("--json", "--by", "scheduled", "--start", str(START_MS))) == ["c", "a"]
    assert names(chronos("--json", "--by", "fired", "--partition", "0")) == ["b"]
    assert names(chronos("--json", "--by", "published", "--end", "2030-01-01T00:00:00Z")) == []
    assert names(chronos("--json", "--key", "k")) == ["a"]
    assert names(chronos("--json", "--limit", "2")) == ["a", "b"]
    assert names(chronos("--json", "--follow", "--limit", "3")) == ["a", "b", "c"]
    assert names(chronos("--json", "--by", "scheduled", "--speed", "1e9")) == ["b", "c", "a"]


def test_a_line_says_when_where_and_what(chronos: Lines) -> None:
    """The time is the one that the order is about; bytes that are no text are base64."""
    assert chronos("--by", "scheduled") == [
        "2030-03-17T16:46:40.000Z  0/1  b  base64:/w==",
        "2096-10-02T06:06:40.000Z  0/2  c  key=base64:/g==  three",
        "2096-10-02T07:06:40.000Z  0/0  a  key=k  n=1  one",
    ]
    [line] = chronos("--json", "--by", "fired")
    event = json.loads(line)
    assert event.pop("fired_ts") >= event["published_ts"]
    assert event.pop("published_ts") >= START_MS
    assert event == {
        "topic": "orders",
        "message_id": "b",
        "partition": 0,
        "offset": 1,
        "position": 0,
        "schedule_ts": START_MS - 3_600_000,
        "expires_ts": None,
        "key": None,
        "meta": {},
        "payload_b64": "/w==",
    }


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("--start", "2030-01-01T00:00:00Z"), Exit.USAGE, "by offset it is a number"),
        (("--by", "fired", "--end", "noon"), Exit.USAGE, "'--end'"),
        (("--by", "colour"), Exit.USAGE, "colour"),
        (("--by", "scheduled", "--follow"), Exit.USAGE, "cannot follow"),
        (("--partition", "9"), Exit.NOT_FOUND, "has 1 partitions"),
    ],
)
def test_mistakes_are_named(chronos: Lines, words: tuple[str, ...], code: Exit, why: str) -> None:
    """One line, with the option that is wrong and what would be right."""
    [line] = chronos(*words, code=code)
    assert why in line
