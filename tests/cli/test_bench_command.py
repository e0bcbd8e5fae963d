"""`chronos bench`: its figures from what was received, and the command against a real node."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from trio.testing import MockClock

from chronosdb.client import Client
from chronosdb.client.cli.app import run
from chronosdb.client.cli.bench import Bench, Load
from chronosdb.client.cli.bench_figures import Round, Spread, spreads
from chronosdb.client.cli.exits import Exit, Failure
from tests.support.in_process import topic_broker

Lines = Callable[..., list[str]]


def test_a_round_is_complete_when_every_event_came_once() -> None:
    """What comes again, and what was of a round before, is counted and changes no figure."""
    one = Round(3, first_offset=10)
    for offset in (11, 10, 11, 9, 13):
        one.received(offset, 5)
    assert (one.missing, one.repeated, one.early) == (1, 3, 0)
    one.received(12, -1)
    assert (one.missing, one.early) == (0, 1)


def test_figures_are_rates_and_the_tail_of_lateness() -> None:
    """A thousand events: one in a hundred is 7 ms late, one of them 40."""
    one = Round(1000, first_offset=0, publish_s=0.5, deliver_s=2.0)
    for offset in range(1000):
        one.received(offset, 40 if offset == 999 else 7 if offset >= 989 else 1)
    assert one.figures() == {
        "published_per_s": 2000,
        "delivered_per_s": 500,
        "lateness_p50_ms": 1,
        "lateness_p99_ms": 7,
        "lateness_p99.9_ms": 7,
        "lateness_max_ms": 40,
    }


def test_rounds_are_summed_up_by_their_median() -> None:
    rounds = [{"a": 3.0}, {"a": 1.0}, {"a": 9.0}]
    assert spreads(rounds) == {"a": Spread(3.0, 1.0, 9.0)}


@asynccontextmanager
async def connect(_addresses: str, *, timeout: float) -> AsyncIterator[Client]:  # noqa: ASYNC109
    """A client of a node that has a topic "t"; at the end every topic is named on stdout."""
    assert timeout
    async with topic_broker(MockClock()) as (node, _), node.library(timeout_s=60) as db:
        yield db
        names = [info.name for info in await db.topics()]
        sys.stdout.write(f"topics: {' '.join(names)}\n")


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Runs `chronos bench` with few events; the lines that it prints."""

    def call(*words: str, code: Exit = Exit.OK) -> list[str]:
        assert run(["bench", "--events", "25", "--batch", "10", *words], connect=connect) is code
        out, err = capsys.readouterr()
        return (err or out).splitlines()

    return call


def test_a_bench_says_how_fast_and_leaves_nothing_behind(bench: Lines) -> None:
    """Every round has every figure; its topic is gone."""
    topics, line = bench("--json", "--rounds", "2", "--size", "3")
    assert topics == "topics: t"
    told = json.loads(line)
    assert (told["events"], told["size"], told["repeated"], told["early"]) == (25, 3, 0, 0)
    assert len(told["rounds"]) == 2
    for one in (*told["rounds"], told["median"], told["lowest"], told["highest"]):
        assert one.keys() == told["rounds"][0].keys()
        assert min(one["published_per_s"], one["delivered_per_s"]) > 0
        assert 0 <= one["lateness_p50_ms"] <= one["lateness_max_ms"]


def test_a_bench_for_people(bench: Lines) -> None:
    """A line about the load, and a table; the topic stays if it is to be kept."""
    topics, load, *table = bench("--keep", "--topic", "mine", "--delay", "20ms", "--size", "0")
    assert topics == "topics: mine t"
    assert load == ("3 rounds: 25 events of 0 B, 10 to a publish, due 20ms later; none early")
    assert [row.split("\t")[0] for row in table] == [
        "figure",
        "published per s",
        "delivered per s",
        "lateness p50 ms",
        "lateness p99 ms",
        "lateness p99.9 ms",
        "lateness max ms",
    ]


def test_a_bench_does_not_touch_a_topic_that_exists(bench: Lines) -> None:
    """It refuses, and does not delete it."""
    assert bench("--topic", "t", code=Exit.CONFLICT) == [
        'error: topic "t" exists; name one that does not, or none'
    ]


async def test_an_event_that_does_not_come_ends_the_bench(clock: MockClock) -> None:
    """Here somebody else of its group takes them and does nothing."""
    async with topic_broker(clock) as (node, thief), node.library(timeout_s=600) as db:
        await thief.subscribe("bench", mode="ordered", credit=1000)
        load = Load(events=5, payload=b"", batch=5, delay_ms=0, rounds=1)
        bench = Bench(db, "t", load, lambda _nbytes, _word: None)
        with pytest.raises(ExceptionGroup) as failed:
            await bench.run()
        assert failed.group_contains(Failure, match="5 events did not come")
