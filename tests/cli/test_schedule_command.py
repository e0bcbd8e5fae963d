"""`chronos schedule` against a real node in the test's own process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from trio.testing import MockClock

from chronosdb.client import Client
from chronosdb.client.cli.app import run
from chronosdb.client.cli.exits import Exit
from tests.support.in_process import broker

#: The year 2096: not even a machine that has been up for weeks is there yet.
FAR_MS = 4_000_000_000_000

Lines = Callable[..., list[str]]


@asynccontextmanager
async def connect(_addresses: str, *, timeout: float) -> AsyncIterator[Client]:  # noqa: ASYNC109
    """A client of a node that has two schedules, the second paused."""
    assert timeout
    async with broker(MockClock()) as node, node.library(timeout_s=60) as db:
        await db.create_topic("orders")
        await db.schedules.put(
            "beat", "orders", b"tick", every=90, jitter=1.5, key=b"k", start=FAR_MS
        )
        await db.schedules.put(
            "report",
            "orders",
            b"\xff",
            cron="30 8 * * MON-FRI",
            tz="Europe/Paris",
            meta={"n": 1},
            start=FAR_MS,
            paused=True,
        )
        yield db


@pytest.fixture
def chronos(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Runs `chronos schedule` with more words; the lines that it prints."""

    def call(*words: str, code: Exit = Exit.OK) -> list[str]:
        assert run(["schedule", *words], connect=connect) is code
        out, err = capsys.readouterr()
        return (err or out).splitlines()

    return call


def test_the_list_says_when_each_comes_next(chronos: Lines) -> None:
    """A line each."""
    assert chronos("list") == [
        "schedule\ttopic\twhen\tnext",
        "beat\torders\tevery 90s\t2096-10-02T07:06:40.000Z",
        "report\torders\t30 8 * * MON-FRI Europe/Paris\tpaused",
    ]
    assert [json.loads(line)["schedule"] for line in chronos("list", "--json")] == [
        "beat",
        "report",
    ]


def test_one_is_shown_in_full(chronos: Lines) -> None:
    """For people, and for programs."""
    lines = chronos("show", "report")
    assert [line for line in lines if not line.startswith("generation")] == [
        "schedule      report",
        "topic         orders",
        "when          30 8 * * MON-FRI Europe/Paris",
        "next          paused",
        "start         2096-10-02T07:06:40.000Z",
        "clock change  gap skip, fold first",
        "catch up      all",
        "meta          n=1",
        "payload       base64:/w==",
    ]
    [line] = chronos("show", "beat", "--json")
    shown = json.loads(line)
    assert shown.pop("generation") > 0
    assert shown.pop("put") > 0
    assert shown == {
        "schedule": "beat",
        "topic": "orders",
        "cron": None,
        "every": 90.0,
        "tz": "UTC",
        "gap": "skip",
        "fold": "first",
        "start": FAR_MS,
        "end": None,
        "catch_up": "all",
        "jitter": 1.5,
        "paused": False,
        "next": FAR_MS,
        "key": "k",
        "meta": {},
        "payload": "tick",
    }


def test_all_that_can_be_stated_can_be_typed(chronos: Lines) -> None:
    """Spans with units, times with zones."""
    words = ["--cron", "*/5 * * * *", "--tz", "Asia/Tokyo", "--gap", "shift", "--fold", "both"]
    words += ["--start", "2030-04-01T00:00:00Z", "--end", "2031-04-01T00:00:00Z", "--key", "k"]
    words += ["--meta", "a=b", "--catch-up", "2h", "--jitter", "30s", "--paused"]
    shown = json.loads(chronos("put", "new", "orders", "hello", *words, "--json")[0])
    stated = ("cron", "tz", "gap", "fold", "start", "end", "key", "meta", "catch_up", "jitter")
    assert [shown[name] for name in stated] == [
        "*/5 * * * *",
        "Asia/Tokyo",
        "shift",
        "both",
        1_901_232_000_000,
        1_932_768_000_000,
        "k",
        {"a": "b"},
        7200.0,
        30.0,
    ]
    assert shown["paused"]


def test_pause_resume_delete(chronos: Lines) -> None:
    """Each says how it is now."""
    assert "next          paused" in chronos("pause", "beat")
    assert "next          2096-10-03T06:30:00.000Z" in chronos("resume", "report")
    assert chronos("delete", "beat") == ["beat: deleted"]
    assert chronos("delete", "beat", "--json") == ['{"schedule": "beat", "deleted": true}']


def test_a_preview_shows_the_times(chronos: Lines) -> None:
    """Of a schedule, or of a rule that nobody has put."""
    assert chronos("preview", "beat", "--count", "2") == [
        "2096-10-02T07:06:40.000Z",
        "2096-10-02T07:08:10.000Z",
    ]
    words = ["--cron", "30 2 * * *", "--tz", "Europe/Paris", "--after", "2030-03-30T12:00:00Z"]
    assert chronos("preview", *words, "--count", "1") == ["2030-04-01T00:30:00.000Z"]
    assert chronos("preview", *words, "--count", "1", "--gap", "shift", "--json") == [
        '{"occurrence": 1901151000000}'
    ]


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["show", "gone"], Exit.NOT_FOUND, "no schedule 'gone'"),
        (["put", "s", "nowhere", "x", "--every", "1m"], Exit.NOT_FOUND, "nowhere"),
        (["put", "s", "orders", "x"], Exit.USAGE, "cron expression or an interval"),
        (["put", "s", "orders", "x", "--cron", "61 * * * *"], Exit.USAGE, "Bad minute"),
        (["put", "s", "orders", "x", "--every", "10"], Exit.USAGE, "no unit"),
        (["put", "s", "orders", "x", "--every", "1m", "--catch-up", "x"], Exit.USAGE, "duration"),
        (["put", "s", "orders", "x", "--cron", "0 0 * * *", "--tz", "Mars"], Exit.USAGE, "Mars"),
        (["preview"], Exit.USAGE, "NAME"),
        (["preview", "beat", "--every", "1m"], Exit.USAGE, "NAME"),
    ],
)
def test_what_is_wrong_is_said(
    chronos: Lines, words: list[str], code: Exit, complaint: str
) -> None:
    """In one line, with the exit code of its kind."""
    [line] = chronos(*words, code=code)
    assert complaint in line
